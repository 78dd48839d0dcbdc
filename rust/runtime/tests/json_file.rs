//! Records of logs, as Python's json reads them.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use proptest::prelude::*;
use pycontain_runtime::json_file::{LONGEST, Lines};
use pycontain_runtime::time::rfc_3339;

/// Reads records, checks them, and gives back the bytes that they stand for; lengths of records go to stderr.
const READER: &str = r"
import json, sys
for line in sys.stdin.buffer:
    record = json.loads(line)
    assert list(record) == ['log', 'stream', 'time'], record
    assert record['stream'] == 'stdout' and record['time'] == '2026-11-25T17:19:50.000000007Z', record
    data = record['log'].encode('utf-8', 'surrogateescape')
    sys.stdout.buffer.write(data)
    print(len(data), file=sys.stderr)
";

fn python(records: &[u8]) -> (Vec<u8>, Vec<usize>) {
    let mut reader = Command::new("python3")
        .args(["-c", READER])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("python3 can be started");
    let mut stdin = reader.stdin.take().expect("it is a pipe");
    let records = records.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(&records));
    let output = reader.wait_with_output().expect("it ends");
    writer.join().expect("no panic").expect("all is read");
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{words}");
    (output.stdout, words.lines().map(|line| line.parse().expect("a number")).collect())
}

fn log(pieces: &[Vec<u8>]) -> Vec<u8> {
    let time = rfc_3339(Duration::new(1_795_627_190, 7));
    let (mut lines, mut out) = (Lines::new("stdout"), Vec::new());
    for piece in pieces {
        lines.push(piece, &time, &mut out, |_| ());
    }
    lines.finish(&time, &mut out);
    out
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..300),
        prop::collection::vec(prop::sample::select(b"ab\"\\\n\r\t\x1b \x7f".to_vec()), 0..300),
        "\\PC{0,60}\n?".prop_map(String::into_bytes),
        (0..3 * LONGEST).prop_map(|length| vec![b'x'; length]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn no_byte_is_lost_however_it_comes(pieces in prop::collection::vec(bytes(), 0..12)) {
        let (read, lengths) = python(&log(&pieces));
        prop_assert_eq!(&read, &pieces.concat());
        prop_assert!(lengths.iter().all(|length| *length <= LONGEST));
        // Every record but the last ends a line, or is as long as one may be.
        let mut place = 0;
        for length in &lengths[..lengths.len().saturating_sub(1)] {
            place += length;
            prop_assert!(read[place - 1] == b'\n' || *length == LONGEST);
        }
    }
}

#[test]
fn ends_of_months_and_leap_years_are_right() {
    for (seconds, expected) in [
        (0, "1970-01-01T00:00:00.000000000Z"),
        (951_782_399, "2000-02-28T23:59:59.000000000Z"),
        (951_782_400, "2000-02-29T00:00:00.000000000Z"),
        (1_709_251_200, "2024-03-01T00:00:00.000000000Z"),
        (4_107_542_399, "2100-02-28T23:59:59.000000000Z"),
        (4_107_542_400, "2100-03-01T00:00:00.000000000Z"),
    ] {
        assert_eq!(rfc_3339(Duration::from_secs(seconds)), expected);
    }
}
