//! Faults on command, many frames at once, a capacity that is reached, bytes that are no message.

use super::*;

/// What each fault leaves on the wire and in the book.
#[test]
fn faults() {
    let change = Ask::change("000001", P1111, P2222);
    for (fault, pin, answers, closes) in [
        (r#""answer_late":{"share":1,"ms":600000}"#, "2222", 0, false),
        (r#""close_after":{"share":1}"#, "2222", 0, true),
        (r#""close_before":{"share":1}"#, "1111", 0, true),
        (r#""delay":{"share":1,"ms":600000}"#, "1111", 0, false),
        (r#""drop_answer":{"share":1}"#, "2222", 0, false),
        (r#""duplicate_answer":{"share":1}"#, "2222", 2, false),
        (r#""drop_answer":{"reversals":1}"#, "2222", 1, false),
    ] {
        let mut sim = Sim::new();
        sim.tell(&format!("{{\"faults\":{{{fault}}}}}"));
        let mut input = BytesMut::new();
        change.write(&mut input);
        let (step, mut out) = sim.turn(1, &mut input);
        assert_eq!(matches!(step, Step::Close), closes, "{fault}");
        let got = std::iter::from_fn(|| read(&mut out)).inspect(|a| assert_eq!(a[&39], "00"));
        assert_eq!(got.count(), answers, "{fault}");
        assert!(out.is_empty());
        sim.check_pin(pin);
        assert_eq!(sim.sessions[0].next_due().is_some(), fault.contains("600000"), "{fault}");
    }
}

#[test]
fn faults_of_the_answer_itself() {
    let change = Ask::change("000001", P1111, P2222);
    let with = |fault: &str| {
        let mut sim = Sim::new();
        sim.tell(&format!("{{\"faults\":{{{fault}}}}}"));
        let mut input = BytesMut::new();
        change.write(&mut input);
        let (step, out) = sim.turn(1, &mut input);
        (sim, step, out)
    };
    let (sim, _, mut out) = with(r#""wrong_stan":{"share":1}"#);
    let answer = read(&mut out).unwrap();
    assert_eq!((answer[&11].as_str(), answer[&39].as_str()), ("500001", "00"));
    sim.check_pin("2222");
    let (mut sim, _, mut out) = with(r#""fixed_code":{"share":1,"code":"C1"}"#);
    assert_eq!(read(&mut out).unwrap()[&39], "C1");
    sim.check_pin("1111");
    sim.tell("{}");
    sim.check(&change.clone().repeat(), "00");
    let (sim, step, out) = with(r#""slow_bytes":{"share":1,"ms":100}"#);
    let Step::Slow { mut bytes, ms: 100 } = step else { panic!("{step:?}") };
    assert!(out.is_empty());
    assert_eq!(read(&mut bytes).unwrap()[&39], "00");
    sim.check_pin("2222");
    let (_, _, out) = with(r#""garbage_bytes":{"share":1}"#);
    // A length of 65535 is past every limit.
    assert_eq!((out.len(), &out[..2]), (34, &[0xFF, 0xFF][..]));
    let (sim, _, out) = with(r#""garbage_frame":{"share":1}"#);
    assert_eq!((out.len(), &out[..2]), (34, &[0, 32][..]));
    let dialect = Dialect::builtin("postilion").unwrap();
    assert!(decode(&dialect, &out[2..], &mut Layout::new()).is_err());
    sim.check_pin("2222");
}

/// Several frames of one read are answered into one buffer; a fault in the middle keeps the answers before it.
#[test]
fn many_frames_one_buffer() {
    let mut sim = Sim::new();
    let mut input = BytesMut::new();
    Ask::change("000001", P1111, P2222).write(&mut input);
    Ask::change("000002", P2222, P3333).write(&mut input);
    Ask::reversal("0420", "000002").write(&mut input);
    let (_, mut out) = sim.turn(1, &mut input);
    let codes: Vec<_> = std::iter::from_fn(|| read(&mut out)).map(|a| a[&39].clone()).collect();
    assert_eq!(codes, ["00", "00", "00"]);
    sim.check_pin("2222");
    sim.tell(r#"{"faults":{"close_before":{"reversals":1}}}"#);
    Ask::change("000003", P2222, P4444).write(&mut input);
    Ask::reversal("0420", "000003").write(&mut input);
    Ask::change("000004", P4444, P1111).write(&mut input);
    let (step, mut out) = sim.turn(1, &mut input);
    assert!(matches!(step, Step::Close));
    assert_eq!(read(&mut out).unwrap()[&39], "00");
    assert!(out.is_empty());
    sim.check_pin("4444");
}

/// With a capacity of 1 the second request waits for the second second.
#[test]
fn requests_past_the_capacity_wait() {
    let mut sim = Sim::new();
    sim.tell(r#"{"node":1,"capacity":1}"#);
    let mut input = BytesMut::new();
    for stan in ["000001", "000002", "000003"] {
        Ask::change(stan, P3333, P2222).write(&mut input);
    }
    let (_, mut out) = sim.turn(1, &mut input);
    assert_eq!(std::iter::from_fn(|| read(&mut out)).count(), 1);
    let wait = sim.sessions[0].next_due().unwrap().saturating_sub(sim.core.now());
    assert!(wait.as_secs_f64() <= 1.0, "{wait:?}");
    assert_eq!(sim.ask(2, &Ask::change("000009", P3333, P2222))[&39], "55", "node 2 has no bound");
}

#[test]
fn what_is_no_message_ends_the_connection() {
    for bytes in [&b"\x00\x04abcd"[..], b"\xFF\xFFab", b"GET / HTTP/1.1\r\n\r\n"] {
        let mut sim = Sim::new();
        let (step, out) = sim.turn(1, &mut BytesMut::from(bytes));
        assert!(matches!(step, Step::Close), "{bytes:?}");
        assert!(out.is_empty());
        assert_eq!(sim.core.nodes[0].counters.bad, 1);
    }
}
