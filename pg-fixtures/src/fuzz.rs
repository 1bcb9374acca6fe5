//! Fuzzing on stable Rust: bytes that were good once are mutated for as long as is asked, and a parser must survive all of them.
//!
//! A parser may refuse, and nothing else: no panic, no input that takes long, no memory beyond a bound. `HOLDFAST_FUZZ_SECONDS` says
//! how long each target is tried (a second by default), `HOLDFAST_TEST_SEED` repeats a run.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use crate::dice::Dice;

/// No input is longer.
const INPUT_BYTES_MAX: usize = 1 << 20;
/// No input may take longer, on a busy machine and without optimization.
const INPUT_TIME_MAX: Duration = Duration::from_secs(10);
/// All inputs together may take no more memory than this beyond what was taken before, in bytes.
const MEMORY_MAX: u64 = 256 << 20;
/// So many inputs that were accepted are mutated further.
const KEPT_MAX: usize = 512;
/// Numbers on which arithmetic breaks.
const NUMBERS: [u64; 10] = [0, 1, 0x7F, 0x80, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, 0x7FFF_FFFF_FFFF_FFFF, u64::MAX];

/// Tries mutations of `seeds` on `accepts`, which says whether it accepted its input.
///
/// # Panics
/// When it panics, takes too long or takes too much memory, with the input; and when it accepts none of the seeds, for then
/// nothing behind the first check is reached.
pub fn fuzz(name: &str, seeds: &[Vec<u8>], accepts: impl Fn(&[u8]) -> bool) {
    let time = std::env::var("HOLDFAST_FUZZ_SECONDS").map_or(1, |text| text.parse().expect("HOLDFAST_FUZZ_SECONDS is a number"));
    let (mut dice, mut kept, memory) = (Dice::new(), seeds.to_vec(), peak_memory());
    assert!(seeds.iter().any(|seed| tried(name, seed, &accepts)), "{name}: no seed is accepted");
    let (mut inputs, mut accepted) = (0_u64, 0_u64);
    let end = Instant::now() + Duration::from_secs(time);
    while Instant::now() < end {
        let input = mutated(&kept, &mut dice);
        inputs += 1;
        if tried(name, &input, &accepts) {
            accepted += 1;
            if kept.len() < KEPT_MAX {
                kept.push(input);
            }
        }
    }
    let taken = peak_memory().saturating_sub(memory);
    assert!(taken < MEMORY_MAX, "{name} took {taken} bytes of memory");
    println!("{name}: {inputs} inputs, of which {accepted} were accepted");
}

fn tried(name: &str, input: &[u8], accepts: &impl Fn(&[u8]) -> bool) -> bool {
    let begun = Instant::now();
    let result = catch_unwind(AssertUnwindSafe(|| accepts(input)));
    assert!(begun.elapsed() < INPUT_TIME_MAX, "{name} took {:?} for {}", begun.elapsed(), shown(input));
    result.unwrap_or_else(|_| panic!("{name} panicked on {}", shown(input)))
}

fn shown(input: &[u8]) -> String {
    format!("{} bytes: {}", input.len(), input.escape_ascii())
}

fn mutated(kept: &[Vec<u8>], dice: &mut Dice) -> Vec<u8> {
    let mut input = kept[dice.choose(kept.len())].clone();
    for _ in 0..=dice.below(4) {
        mutate(&mut input, kept, dice);
    }
    input.truncate(INPUT_BYTES_MAX);
    input
}

fn mutate(input: &mut Vec<u8>, kept: &[Vec<u8>], dice: &mut Dice) {
    if input.is_empty() {
        input.push(dice.byte());
        return;
    }
    let at = dice.choose(input.len());
    let length = 1 + dice.choose((input.len() - at).min(64));
    match dice.below(9) {
        0 => input[at] ^= 1 << dice.below(8),
        1 => input[at] = dice.byte(),
        2 => input.insert(at, dice.byte()),
        3 => drop(input.drain(at..at + length)),
        4 => input.truncate(at),
        5 => {
            let part = input[at..at + length].repeat(1 + dice.choose(8));
            input.splice(at..at, part);
        }
        6 => {
            let other = &kept[dice.choose(kept.len())];
            let from = dice.choose(other.len().max(1)).min(other.len());
            input.splice(at.., other[from..].iter().copied());
        }
        7 => overwrite(input, at, &number(dice)),
        _ => overwrite(input, at, number_in_text(dice).as_bytes()),
    }
}

fn overwrite(input: &mut [u8], at: usize, with: &[u8]) {
    input[at..].iter_mut().zip(with).for_each(|(old, new)| *old = *new);
}

/// A number of 1 to 8 bytes, either way round.
fn number(dice: &mut Dice) -> Vec<u8> {
    let number = NUMBERS[dice.choose(NUMBERS.len())];
    let width = 1 << dice.below(4);
    if dice.below(2) == 0 { number.to_le_bytes()[..width].to_vec() } else { number.to_be_bytes()[8 - width..].to_vec() }
}

fn number_in_text(dice: &mut Dice) -> String {
    let number = NUMBERS[dice.choose(NUMBERS.len())];
    match dice.below(4) {
        0 => format!("{number:X}"),
        1 => format!("{number:o}"),
        2 => format!("-{number}"),
        _ => number.to_string(),
    }
}

/// How much memory this process took at its peak, in bytes.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("the status of this process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    line.split_whitespace().next().and_then(|kilobytes| kilobytes.parse::<u64>().ok()).expect("a number") << 10
}
