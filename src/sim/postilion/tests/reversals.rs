//! Reversals: what they undo, in which order, and one that comes before its original.

use super::*;

#[test]
fn a_reversal_puts_the_old_pin_back() {
    for (mti, answer) in [("0400", "0410"), ("0401", "0410"), ("0420", "0430"), ("0421", "0430")] {
        let mut sim = Sim::new();
        sim.check(&Ask::change("000001", P1111, P2222), "00");
        let reversal = Ask::reversal(mti, "000001");
        let got = sim.ask(2, &reversal);
        assert_eq!((got[&0].as_str(), got[&39].as_str()), (answer, "00"));
        sim.check_pin("1111");
        assert_eq!(sim.ask(1, &reversal)[&39], "00", "again");
        // The original's repeat is told what it was told, and the PIN stays.
        sim.check(&Ask::change("000001", P1111, P2222).repeat(), "00");
        sim.check_pin("1111");
        assert_eq!(sim.card()["changes"][0]["state"], "reversed");
    }
}

#[test]
fn the_original_key_finds_the_original() {
    let mut sim = Sim::new();
    sim.check(&Ask::change("000001", P1111, P2222).keyed("KEY1"), "00");
    let bare = Ask::reversal("0420", "000001").without(90);
    assert_eq!(sim.ask(1, &bare)[&39], "30", "names nothing");
    // The data fit, the key is another's.
    sim.check(&Ask::reversal("0420", "000001").of_key("KEY2"), "25");
    sim.check_pin("2222");
    sim.check(&Ask::reversal("0420", "000001").of_key("KEY1").keyed("REV1"), "00");
    sim.check(&bare.of_key("KEY1").keyed("REV2"), "00");
    sim.check_pin("1111");
}

#[test]
fn a_reversal_of_a_decline_or_of_a_superseded_change() {
    let mut sim = Sim::new();
    sim.check(&Ask::change("000001", P3333, P2222), "55");
    sim.check(&Ask::reversal("0420", "000001"), "00");
    sim.check(&Ask::change("000002", P1111, P2222), "00");
    sim.check(&Ask::change("000003", P2222, P3333), "00");
    sim.check(&Ask::reversal("0420", "000002"), "25");
    sim.check_pin("3333");
    sim.check(&Ask::reversal("0420", "000003"), "00");
    sim.check_pin("2222");
    // It is the card's last change again, but it was told 25 and stays told so.
    sim.check(&Ask::reversal("0421", "000002"), "25");
    sim.check_pin("2222");
}

#[test]
fn reversals_unwind_in_order() {
    let mut sim = Sim::new();
    sim.check(&Ask::change("000001", P1111, P2222), "00");
    sim.check(&Ask::change("000002", P2222, P3333), "00");
    sim.check(&Ask::reversal("0420", "000002"), "00");
    sim.check(&Ask::reversal("0420", "000001"), "00");
    sim.check_pin("1111");
}

#[test]
fn a_reversal_before_its_original_keeps_it_out() {
    for keyed in [false, true] {
        let mut sim = Sim::new();
        let (mut reversal, mut change) =
            (Ask::reversal("0420", "000001"), Ask::change("000001", P1111, P2222));
        if keyed {
            reversal = reversal.without(90).of_key("KEY1");
            change = change.keyed("KEY1");
        }
        sim.check(&reversal, "25");
        assert_eq!(sim.ask(2, &change)[&39], "94");
        assert_eq!(sim.ask(2, &change.clone().repeat())[&39], "94");
        sim.check(&reversal, "25");
        sim.check_pin("1111");
        sim.check(&Ask::change("000002", P1111, P2222), "00");
        let remembered: Vec<_> = sim.core.book.remembered().collect();
        assert_eq!(remembered.len(), 1);
        assert_eq!((remembered[0].received, remembered[0].refused), (2, 1));
    }
}
