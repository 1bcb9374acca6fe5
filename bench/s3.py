"""An S3 server: SeaweedFS, with and without TLS."""

import urllib.error
import urllib.request

from . import meter
from .process import Background, Failed, run, wait_until
from .site import CACHE, free_port

KEY, SECRET = "holdfast", "holdfast-secret"
IDENTITIES = (
    '{"identities":[{"name":"holdfast","credentials":[{"accessKey":"%s","secretKey":"%s"}],'
    '"actions":["Admin","Read","Write","List","Tagging"]}]}' % (KEY, SECRET)
)


class SeaweedFs:
    """A server with one bucket."""

    BUCKET = "bench"

    def __init__(self, site):
        self.site = site
        self.folder = site.directory("s3")
        self.port, self.tls_port = free_port(), free_port()
        self.certificate = self.make_certificate()
        (self.folder / "s3.json").write_text(IDENTITIES)
        (self.folder / "data").mkdir()
        self.server = Background(self.command(), self.folder / "log", cwd=self.folder)
        meter.LEFT_OUT.add(self.server.pid)
        wait_until(60, "SeaweedFS answers", self.answers, pause=0.2)
        self.make_bucket()

    def make_certificate(self):
        """A certificate that signs itself, for pgBackRest, which speaks to S3 with TLS only."""
        certificate = self.folder / "certificate.pem"
        subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-days", "30"]
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", self.folder / "key.pem"]
        run(["openssl", "req", "-x509", *key, "-out", certificate, *subject])
        return certificate

    def command(self):
        """The command line, without telemetry and everything that is not S3."""
        weed = CACHE / "seaweedfs/weed"
        if not weed.exists():
            raise Failed(f"SeaweedFS is not at {weed}: run scripts/install bench")
        ports = {"s3.port": self.port, "s3.port.https": self.tls_port, "s3.port.iceberg": 0, "s3.port.lance": 0}
        for name in ["s3", "master", "volume", "filer"]:
            ports.setdefault(f"{name}.port", free_port())
            ports[f"{name}.port.grpc"] = free_port()
        files = {"s3.cert.file": "certificate.pem", "s3.key.file": "key.pem", "dir": "data", "s3.config": "s3.json"}
        sockets = {"s3.localSocket": "s3.sock", "filer.localSocket": "f.sock"}
        options = [f"-{name}={value}" for name, value in ports.items()]
        options += [f"-{name}={self.folder / value}" for name, value in {**files, **sockets}.items()]
        fixed = ["-master.telemetry=false", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3"]
        return [weed, "server", *fixed, "-volume.max=500", "-master.volumeSizeLimitMB=1024", *options]

    def answers(self):
        """Whether S3 answers; an answer without a signature is a refusal."""
        self.server.check()
        try:
            with urllib.request.urlopen(self.endpoint(), timeout=2):
                return True
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False

    def endpoint(self):
        """The URL without TLS."""
        return f"http://127.0.0.1:{self.port}"

    def make_bucket(self):
        """Through the server's own shell."""
        weed = self.server.arguments[0]
        master = next(option.split("=")[1] for option in self.server.arguments if option.startswith("-master.port="))
        grpc = next(option.split("=")[1] for option in self.server.arguments if option.startswith("-master.port.grpc="))
        script = f"s3.bucket.create -name {self.BUCKET}\n"
        run([weed, "shell", f"-master=127.0.0.1:{master}.{grpc}"], data=script)

    def environment(self):
        """For programs that look for AWS credentials."""
        return {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": "us-east-1"}

    def stop(self):
        """Kills it: it takes long to end by itself, and nothing of it is kept."""
        self.server.process.kill()
        self.server.process.wait()
        meter.LEFT_OUT.discard(self.server.pid)
