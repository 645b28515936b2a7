//! Key block LMKs: what a device answered in its traces, and what it refuses of a key block.
//!
//! **Never here:** variant LMKs.

use crate::hsm::payshield::simulator::tests::ask;
use crate::hsm::payshield::simulator::{Device, Kind, Setup};

const ZPK_1: &str = "S00072P0TB00E0001EA421618B34F5FA1A77F7CF6480111B97CF0FAE7BD77D589EC921EF9";
const ZPK_2: &str = "S00072P0TB00E00010D869FE84C1F77AE64E0019151533363D4CCE7E1C3F89F3D86115EE8";
const ZPK_3: &str = "S0007272TN00E0001DE16F028F38CC385436D8E5B3DD4341F3E55379FBCB39710FE2BB6B4";
const TPK: &str = "S0007271TN00E00019BAD23B0CEF79E33328CA0568A0E186FC17E8DE738AAF9FB67C6E1FF";
const BDK_1: &str = "S00072B0TN00E0001566678078B5337915F4860C92F3FF2D6A6B11E8786F22DC8032EB758";
const BDK_2: &str = "S00072B0TN00E0001134E8D68D46BC8356F84F598155A1B5C44199D9847A2A58B64BE091F";
const PVV_1: &str = "S00072V2TN00E0001E80A2926443C3AF11BF0317C669FA0EA0E100ABDF92BF7A3AF232D4C";
const PVV_2: &str = "S00072V2TN00E00014C0328F82856C4E6D7CCF7A9A1597CB0662C35A18CC72EB9CF97917C";
const IBM_1: &str = "S00072V1TN00E00010AE0AD2B1990AB407FAD15059E287760A05DF4DA2391EAB138877E22";
const IBM_2: &str = "S00072V1TN00E00019412BA0AB9D9377261D2CDDB1C4A063ABF35B4CB9E98F7948A501DA2";
const TAK: &str = "S00072M1TN00E0001FFE01E95CF21BDD0D74B6BEB70E3D90842C137DCA39C1B162C6238D5";
const KSN: &str = "A05FFFF000001315240003A";

fn device(kinds: &[Kind]) -> Device {
    Device::new(&Setup { lmks: kinds.to_vec(), ..Setup::default() })
}

/// Commands of a device's traces, all with LMK 01.
#[test]
fn traces_of_a_device() {
    let device = device(&[Kind::Variant, Kind::TdesBlock]);
    let cases = [
        (format!("CC{ZPK_1}{ZPK_2}12AD72F973446E84E70101850103093936"), "CD0006E614D4AFD47BD3BF01"),
        (format!("CA{TPK}{ZPK_1}12E57BC634D47179070101600000000000"), "CB0006FC99D994F1D3D3B801"),
        (
            format!("CA{TPK}*{BDK_1}{KSN}12E57BC634D47179070101600000000000"),
            "CB0006741311DA9D5D6C3201",
        ),
        (
            format!("G0{BDK_1}{ZPK_1}{KSN}741311DA9D5D6C320101600000000000"),
            "G10006FC99D994F1D3D3B801",
        ),
        (
            format!("G0{BDK_1}{ZPK_3}{KSN}741311DA9D5D6C320101600000000000"),
            "G10006766532A20A0A264B01",
        ),
        (
            format!("G0{BDK_1}*{BDK_2}{KSN}{KSN}741311DA9D5D6C320101600000000000"),
            "G10006BBF74DF0FFA00ED101",
        ),
        (
            format!("CUFFF{ZPK_1}{PVV_1}AD72F973446E84E70185010309393617548967CDB6E3D492E28"),
            "CV006010",
        ),
        (
            format!(
                "DUFFF{ZPK_1}{IBM_1}AD72F973446E84E70106850103093936012345678901234550103093936N588664FFFFFF\
                 967CDB6E3D492E28"
            ),
            "DV02309783FFFFFF",
        ),
        (format!("DC{TPK}{PVV_2}E57BC634D47179070160000000000012194"), "DD00"),
        (
            format!(
                "DA{TPK}{IBM_2}12E5B0C1445E4C57AF010660000000000001234567890123451234560000N0093636FFFFFF"
            ),
            "DB02",
        ),
        (format!("M801011FFF{TAK}0008ABCDEF12F9369211"), "M900"),
        (format!("BUFFF{ZPK_1};FFF;001"), "BV004FE9FD"),
        (format!("BUFFF{PVV_1};FFF;001"), "BV00AAB664"),
        (format!("BUFFF{TAK};FFF;001"), "BV00F808C2"),
    ];
    for (command, want) in cases {
        assert_eq!(ask(&device, &format!("{command}%01")), want, "{command}");
    }
    assert_eq!(ask(&device, "NC%01"), "ND0016512600000000001084-0906");
}

/// Decimalization tables under the TDES key block LMK.
#[test]
fn encrypted_tables() {
    let setup = Setup {
        lmks: vec![Kind::Variant, Kind::TdesBlock],
        encrypted_tables: true,
        ..Setup::default()
    };
    let device = Device::new(&setup);
    let with = |table: &str| {
        ask(
            &device,
            &format!(
                "DA{TPK}{IBM_2}12E5B0C1445E4C57AF0106600000000000{table}1234560000N0093636FFFFFF%01"
            ),
        )
    };
    assert_eq!(with("709F26B22464E96A"), "DB02");
    assert_eq!(with("0123456789012345"), "DB25");
}

#[test]
fn what_is_refused_of_a_key_block() {
    let device = device(&[Kind::Variant, Kind::TdesBlock, Kind::TdesBlock, Kind::AesBlock]);
    let rest = "12AD72F973446E84E70101850103093936";
    let changed = ZPK_1.replace("P0TB", "P0TN");
    let single = "U1EF828AA8F6B80EB83E19FBC373F3A85";
    for (command, want) in [
        (format!("CC{ZPK_1}{ZPK_2}{rest}"), "A1"),
        (format!("CC{ZPK_1}{ZPK_2}{rest}%02"), "A2"),
        (format!("CC{ZPK_1}{ZPK_2}{rest}%03"), "A1"),
        (format!("CC{single}{ZPK_2}{rest}%01"), "A1"),
        (format!("CC{changed}{ZPK_2}{rest}%01"), "A4"),
        (format!("CC{PVV_1}{ZPK_2}{rest}%01"), "A6"),
        (format!("CC{ZPK_1}{TAK}{rest}%01"), "A6"),
        (format!("CC{ZPK_1}S00015P0TB00E0001{rest}%01"), "83"),
    ] {
        assert_eq!(ask(&device, &command), format!("CD{want}"), "{command}");
    }
}

/// Keys, PINs and format 4 under the AES LMK.
#[test]
fn everything_under_aes() {
    let device = device(&[Kind::AesBlock]);
    assert!(ask(&device, "NC").starts_with("ND009D04A0"));
    let make = |attributes: &str| {
        let made = ask(&device, &format!("A00FFFS%00#{attributes}"));
        made[4..made.len() - 6].to_owned()
    };
    let (aes, tdes) = (make("P0A1N00E00"), make("P0T2N00E00"));
    assert!(aes.starts_with("S1") && tdes.starts_with("S1"));
    let whole = "4761739001010010;";
    let drawn = ask(&device, &format!("JA{whole}05"));
    let pin = drawn.strip_prefix("JB00J").unwrap();
    let block = ask(&device, &format!("JG{aes}48{whole}J{pin}"));
    let block = block.strip_prefix("JH00").unwrap();
    assert_eq!(block.len(), 32);
    assert_eq!(ask(&device, &format!("BE{aes}{block}48{whole}J{pin}")), "BF00");
    assert_eq!(ask(&device, &format!("BE{aes}{block}484761739001010028;J{pin}")), "BF20");
    let translated = ask(&device, &format!("CC{aes}{tdes}12{block}4801{whole}"));
    let narrow = translated.strip_prefix("CD0005").unwrap().strip_suffix("01").unwrap();
    assert_eq!(ask(&device, &format!("BE{tdes}{narrow}01173900101001J{pin}")), "BF00");
}

/// Under an LMK there are no TR-31 blocks: they are for A6 and A8 (`listed`), where keys come in and go out.
#[test]
fn a_tr31_block_is_no_key_under_an_lmk() {
    const TR31: &str =
        "RB0080P0TE00N00001C414014375212C24995E405B5EE052CB92B67F455EA2680F6751088F9F1C228";
    for kind in [Kind::Variant, Kind::TdesBlock, Kind::AesBlock] {
        let device = device(&[kind]);
        for (command, answer) in [
            (format!("CC{TR31}{TR31}12AD72F973446E84E70101850103093936"), "CDA1"),
            (format!("JE{TR31}AD72F973446E84E701850103093936"), "JFA1"),
            (format!("EC{TR31}{TR31}AD72F973446E84E70185010309393617548"), "EDA1"),
            (
                format!("CUFFF{TR31}{TR31}AD72F973446E84E70185010309393617548967CDB6E3D492E28"),
                "CVA1",
            ),
            (format!("BUFFF{TR31};FFF;001"), "BVA1"),
        ] {
            assert_eq!(ask(&device, &command), answer, "{kind:?} {command}");
        }
    }
}
