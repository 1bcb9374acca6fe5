//! A little S3 service in memory that treats conditions as it is told: what calls itself S3 is not always.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};

/// What the service does with `If-None-Match: *`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Conditions {
    Honoured,
    Ignored,
    Refused,
}

/// Keys are listed in the order of their bytes, as AWS does.
pub struct LooseS3 {
    conditions: Conditions,
    objects: Mutex<BTreeMap<String, Bytes>>,
    uploads: Mutex<BTreeMap<String, BTreeMap<u32, Bytes>>>,
    /// How many uploads were ever begun: the number of those that are open would give a name again after an abort.
    begun: AtomicUsize,
}

impl LooseS3 {
    /// Starts a service, which ends with the runtime; its URL.
    pub async fn start(conditions: Conditions) -> String {
        let service =
            Arc::new(Self { conditions, objects: Mutex::default(), uploads: Mutex::default(), begun: AtomicUsize::new(0) });
        let routes = Router::new().fallback(serve).layer(DefaultBodyLimit::disable()).with_state(service);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a listener has an address");
        tokio::spawn(async move { axum::serve(listener, routes).await });
        format!("http://{address}")
    }

    fn put(&self, key: String, body: Bytes, headers: &HeaderMap) -> Response {
        let conditional = headers.contains_key("if-none-match");
        let mut objects = self.objects.lock().expect("no test thread panics in here");
        match self.conditions {
            Conditions::Refused if conditional => error(StatusCode::NOT_IMPLEMENTED, "NotImplemented"),
            Conditions::Honoured if conditional && objects.contains_key(&key) => {
                error(StatusCode::PRECONDITION_FAILED, "PreconditionFailed")
            }
            _ => {
                objects.insert(key, body);
                [("etag", "\"etag\"")].into_response()
            }
        }
    }

    fn get(&self, key: &str, headers: &HeaderMap, head: bool) -> Response {
        let objects = self.objects.lock().expect("no test thread panics in here");
        let Some(body) = objects.get(key).cloned() else { return error(StatusCode::NOT_FOUND, "NoSuchKey") };
        let total = body.len();
        let range = headers.get("range").and_then(|range| range.to_str().ok()?.strip_prefix("bytes=")?.split_once('-'));
        match range {
            _ if head => [("content-length", total.to_string())].into_response(),
            None => body.into_response(),
            Some((begin, last)) => {
                let (begin, last): (usize, usize) = (begin.parse().expect("a number"), last.parse().expect("a number"));
                if begin >= total {
                    return error(StatusCode::RANGE_NOT_SATISFIABLE, "InvalidRange");
                }
                let last = last.min(total - 1);
                let range = [("content-range", format!("bytes {begin}-{last}/{total}"))];
                (StatusCode::PARTIAL_CONTENT, range, body.slice(begin..=last)).into_response()
            }
        }
    }

    fn begin(&self) -> Response {
        let id = format!("upload-{}", self.begun.fetch_add(1, Ordering::Relaxed));
        self.uploads.lock().expect("no test thread panics in here").insert(id.clone(), BTreeMap::new());
        xml(&format!("<InitiateMultipartUploadResult><UploadId>{id}</UploadId></InitiateMultipartUploadResult>"))
    }

    fn part(&self, id: &str, number: &str, body: Bytes) -> Response {
        let mut uploads = self.uploads.lock().expect("no test thread panics in here");
        // A part may come when its upload was aborted: it was on its way.
        let Some(parts) = uploads.get_mut(id) else { return error(StatusCode::NOT_FOUND, "NoSuchUpload") };
        parts.insert(number.parse().expect("a number"), body);
        [("etag", "\"etag\"")].into_response()
    }

    fn complete(&self, key: String, id: &str, headers: &HeaderMap) -> Response {
        let parts = self.uploads.lock().expect("no test thread panics in here").get(id).cloned();
        let Some(parts) = parts else { return error(StatusCode::NOT_FOUND, "NoSuchUpload") };
        let body: Vec<u8> = parts.values().flat_map(|part| part.iter().copied()).collect();
        let put = self.put(key, body.into(), headers);
        match put.status() {
            StatusCode::OK => xml("<CompleteMultipartUploadResult><ETag>etag</ETag></CompleteMultipartUploadResult>"),
            _ => put,
        }
    }

    fn list(&self, query: &BTreeMap<String, String>) -> Response {
        let empty = String::new();
        let text = |name: &str| query.get(name).unwrap_or(&empty);
        let (prefix, delimiter) = (text("prefix"), text("delimiter"));
        let start = text("start-after").max(text("continuation-token")).clone();
        let most: usize = text("max-keys").parse().unwrap_or(1000);
        let mut listed: Vec<(String, String)> = Vec::new();
        let mut truncated = false;
        for (key, body) in self.objects.lock().expect("no test thread panics in here").iter() {
            let Some(rest) = key.strip_prefix(prefix.as_str()).filter(|_| *key > start) else { continue };
            let slash = rest.find('/').filter(|_| !delimiter.is_empty()).map(|slash| &key[..=prefix.len() + slash]);
            let name = slash.unwrap_or(key);
            // A token that is a folder stands for all of it.
            if listed.last().is_some_and(|(last, _)| last == name)
                || (start.ends_with('/') && start == name && query.contains_key("continuation-token"))
            {
                continue;
            }
            if listed.len() == most {
                truncated = true;
                break;
            }
            let line = match slash {
                Some(_) => format!("<CommonPrefixes><Prefix>{}</Prefix></CommonPrefixes>", escape(name)),
                None => contents(key, body.len()),
            };
            listed.push((name.to_owned(), line));
        }
        let next = listed
            .last()
            .filter(|_| truncated)
            .map(|(name, _)| format!("<NextContinuationToken>{}</NextContinuationToken>", escape(name)));
        let lines: String = listed.into_iter().map(|(_, line)| line).collect();
        let next = next.unwrap_or_default();
        xml(&format!("<ListBucketResult><IsTruncated>{truncated}</IsTruncated>{next}{lines}</ListBucketResult>"))
    }
}

async fn serve(State(service): State<Arc<LooseS3>>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let query: BTreeMap<String, String> =
        uri.query().unwrap_or_default().split('&').map(|pair| pair.split_once('=').unwrap_or((pair, ""))).map(decoded).collect();
    let path = decode(uri.path());
    let key = path.trim_start_matches('/').split_once('/').map(|(_, key)| key.to_owned()).unwrap_or_default();
    let has = |name: &str| query.contains_key(name);
    match method {
        Method::GET if has("uploads") => {
            xml("<ListMultipartUploadsResult><IsTruncated>false</IsTruncated></ListMultipartUploadsResult>")
        }
        Method::GET if has("list-type") => service.list(&query),
        Method::HEAD if key.is_empty() => StatusCode::OK.into_response(),
        Method::GET | Method::HEAD => service.get(&key, &headers, method == Method::HEAD),
        Method::POST if has("uploads") => service.begin(),
        Method::POST => service.complete(key, &query["uploadId"], &headers),
        Method::PUT if !is_checksummed(&headers, &body) => error(StatusCode::BAD_REQUEST, "InvalidDigest"),
        Method::PUT if has("partNumber") => service.part(&query["uploadId"], &query["partNumber"], body),
        Method::PUT => service.put(key, body, &headers),
        Method::DELETE if has("uploadId") => {
            service.uploads.lock().expect("no test thread panics in here").remove(&query["uploadId"]);
            StatusCode::NO_CONTENT.into_response()
        }
        Method::DELETE => {
            service.objects.lock().expect("no test thread panics in here").remove(&key);
            StatusCode::NO_CONTENT.into_response()
        }
        _ => error(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed"),
    }
}

/// Whether a plain body came with its right CRC-32 in the header of S3, as AWS checks it.
fn is_checksummed(headers: &HeaderMap, body: &Bytes) -> bool {
    let plain = !headers.contains_key("x-amz-trailer") && !headers.contains_key("content-encoding");
    let digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let sent = headers.get("x-amz-checksum-crc32").and_then(|sent| sent.to_str().ok()).unwrap_or_default();
    let bits = |text: &str| {
        text.bytes()
            .filter_map(|digit| digits.bytes().position(|known| known == digit))
            .fold(0_u64, |bits, digit| bits << 6 | digit as u64)
    };
    plain && sent.len() == 8 && sent.ends_with("==") && bits(&sent[..6]) >> 4 == u64::from(crc32fast::hash(body))
}

fn contents(key: &str, size: usize) -> String {
    format!(
        "<Contents><Key>{}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><Size>{size}</Size></Contents>",
        escape(key)
    )
}

fn xml(text: &str) -> Response {
    ([("content-type", "application/xml")], format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>{text}")).into_response()
}

fn error(status: StatusCode, code: &str) -> Response {
    (status, xml(&format!("<Error><Code>{code}</Code><Message>in this test</Message></Error>"))).into_response()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn decoded((name, value): (&str, &str)) -> (String, String) {
    (decode(name), decode(value))
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [byte, after @ ..] = rest {
        let digits = after.get(..2).filter(|_| *byte == b'%').and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(encoded) => (bytes.push(encoded), rest = &after[2..]),
            None => (bytes.push(*byte), rest = after),
        };
    }
    String::from_utf8(bytes).expect("names are UTF-8")
}
