//! Sessions, and zone keys that are changed within them.

use super::*;

#[test]
fn sessions() {
    let mut sim = Sim::not_signed_on(true);
    let network = |code| Ask::new("0800", &[(7, "1122093000"), (11, "000042"), (70, code)]);
    sim.check(&Ask::change("000001", P1111, P2222), "91");
    sim.check(&Ask::reversal("0420", "000001"), "91");
    let want = [(0, "0810"), (7, "1122093000"), (11, "000042"), (39, "00"), (70, "301")];
    let want: Answer = want.into_iter().map(|(n, v)| (n, v.to_owned())).collect();
    assert_eq!(sim.ask(1, &network("301")), want);
    sim.check(&network("001"), "00");
    sim.check(&Ask::change("000001", P1111, P2222), "00");
    sim.check(&network("002"), "00");
    sim.check(&Ask::change("000002", P2222, P3333), "91");
    sim.check(&network("999"), "12");
    sim.tell(r#"{"faults":{"refuse_sign_on":{"share":1}}}"#);
    sim.check(&network("001"), "91");
    sim.check(&Ask::change("000002", P2222, P3333), "91");
    let mut free = Sim::not_signed_on(false);
    free.check(&Ask::change("000001", P1111, P2222), "00");
    free.check(&Ask::new("0200", &[(11, "000001")]), "12");
}

/// The old key is good until the new one has been used; blocks under both are psec's.
#[test]
fn a_new_key_takes_over_at_its_first_good_use() {
    let mut sim = Sim::new();
    let key = ZoneKey::new(&hex::decode(NEW_KEY).unwrap()).unwrap();
    // 16 bytes under zmk.partner and the check value, as psec has them, and zeros.
    let field = hex::encode_upper(sim.core.field_53(&key, false));
    assert_eq!(field, format!("499D9EC521977731EFB153378BA4DB11BE1789{}", "0".repeat(58)));
    let wrong = hex::encode_upper(sim.core.field_53(&key, true));
    assert_ne!(&wrong[32..38], "BE1789");
    sim.check(&Ask::change("000001", NEW_1111, NEW_2222), "81");
    sim.core.take_key(key);
    sim.check(&Ask::change("000002", P1111, P2222), "00");
    sim.check(&Ask::change("000003", NEW_2222, NEW_3333), "00");
    sim.check(&Ask::change("000004", P3333, P4444), "81");
    sim.check_pin("3333");
    let (uses, retired) = sim.core.keys.counts();
    assert_eq!((uses.newest, uses.older, retired), (1, 1, 1));
}

#[test]
fn a_key_is_handed_out_on_request() {
    for code in ["101", "161"] {
        let mut sim = Sim::new();
        let request = Ask::new("0800", &[(7, "1122093000"), (11, "000042"), (70, code)]);
        let one = sim.ask(1, &request);
        let other = sim.ask(2, &request);
        assert_eq!((one[&39].as_str(), one[&53].len()), ("00", 96));
        assert_ne!(one[&53], other[&53]);
        assert_eq!(&one[&53][38..], "0".repeat(58));
        assert_eq!(sim.core.keys.check_values().count(), 3);
        let last = sim.core.keys.check_values().last().unwrap();
        assert_eq!(other[&53][32..38], hex::encode_upper(last));
        sim.tell(r#"{"faults":{"wrong_check_value":{"share":1}}}"#);
        assert_eq!(sim.ask(1, &request)[&39], "00");
        assert_eq!(sim.core.keys.check_values().count(), 3, "not taken");
    }
}

#[test]
fn a_pushed_key_counts_once_the_peer_accepts_it() {
    for (code, keys) in [("00", 2), ("88", 1)] {
        let mut sim = Sim::new();
        let (done, mut pushed) = tokio::sync::oneshot::channel();
        let mut out = BytesMut::new();
        sim.sessions[0].push(&mut sim.core, Push { wrong_check_value: false, done }, &mut out);
        let asked = read(&mut out).unwrap();
        assert_eq!(
            (asked[&0].as_str(), asked[&70].as_str(), asked[&53].len()),
            ("0800", "101", 96)
        );
        assert_eq!(sim.core.keys.check_values().count(), 1);
        let fields = [(7, asked[&7].as_str()), (11, &asked[&11]), (39, code), (70, "101")];
        let mut input = BytesMut::new();
        Ask::new("0810", &fields).write(&mut input);
        let (_, out) = sim.turn(1, &mut input);
        assert!(out.is_empty());
        let pushed = pushed.try_recv().unwrap();
        assert_eq!(pushed.code.0.as_str(), code);
        assert_eq!(hex::encode_upper(pushed.check_value), asked[&53][32..38]);
        assert_eq!(sim.core.keys.check_values().count(), keys);
    }
}
