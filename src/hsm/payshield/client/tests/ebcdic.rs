//! Devices whose host port is set to EBCDIC, and a client that is told so, or is not.

use std::time::Duration;

use crate::domain::pin::{BlockFormat, PinRules, PresentedPin, Reference};
use crate::hsm::payshield::client::tests::bench::*;
use crate::hsm::payshield::client::tests::devices::until;
use crate::hsm::payshield::simulator::{Kind, Running as Device};
use crate::hsm::{Change, ChangeVerdict, Hsm, HsmError, Verdict};
use crate::iso8583::Charset;

async fn device_in(charset: Charset) -> Device {
    device_with(|setup| setup.settings.charset = charset).await
}

async fn client_in(charset: Charset, device: &Device) -> Client {
    let mut settings = settings(device.ports(), Kind::Variant);
    settings.devices.iter_mut().for_each(|device| device.charset = charset);
    start(settings, &plan(Kind::Variant)).await.unwrap()
}

/// Every key passed its check (BU) when the client is up. Then a change by each method, a clear PIN to and fro, and a
/// MAC over every byte there is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pins_and_macs_are_as_the_software_module_has_them() {
    let device = device_in(Charset::Ebcdic).await;
    let client = client_in(Charset::Ebcdic, &device).await;
    let (hsm, soft) = (&client.hsm, soft());
    assert_eq!(hsm.diagnose().await, Ok(()));
    assert_eq!(hsm.devices()[0].firmware.as_deref(), Some("1084-0906"));

    let rules = PinRules { lengths: 1 << 4, ..PinRules::default() };
    for (ours, theirs) in [(visa(&soft), visa(hsm)), (ibm(&soft), ibm(hsm))] {
        let stored = PresentedPin::Lmk(lmk_pin(&soft, b"7268").await);
        let stored = soft.derive(&stored, &account(), &ours, &rules, &Reference::None).await;
        let stored = stored.unwrap();
        for (current, verdict) in [(b"7268", true), (b"7269", false)] {
            let current = block(&soft, current, "zpk.a", BlockFormat::Iso0).await;
            let new = block(&soft, b"4915", "zpk.a", BlockFormat::Iso0).await;
            let account = account();
            let ours_in = [PresentedPin::Zone(current), PresentedPin::Zone(new)];
            let here = Change {
                current: &ours_in[0],
                new: &ours_in[1],
                account: &account,
                method: &ours,
                reference: &stored,
                rules: &rules,
            };
            let want = soft.verify_and_derive(&here).await;
            assert_eq!(matches!(want, Ok(ChangeVerdict::Right(_))), verdict);
            let theirs_in = [&current, &new].map(|pin| PresentedPin::Zone(as_of(hsm, &soft, pin)));
            let there =
                Change { current: &theirs_in[0], new: &theirs_in[1], method: &theirs, ..here };
            assert_eq!(hsm.verify_and_derive(&there).await, want);
        }
    }

    let sealed = lmk_pin(hsm, b"902715").await;
    assert_eq!(hsm.reveal(&sealed, &account()).await.unwrap()[..], b"902715"[..]);

    let every: Vec<u8> = (0..=255).collect();
    let [ours, theirs] = [soft.key("zak"), hsm.key("zak")].map(Option::unwrap);
    let want = soft.mac(ours, &every).await.unwrap();
    assert_eq!(hsm.mac(theirs, &every).await, Ok(want));
    assert_eq!(hsm.verify_mac(theirs, &every, &want).await, Ok(Verdict::Right));
    assert_eq!(hsm.verify_mac(theirs, &every, &[0; 8]).await, Ok(Verdict::Wrong));
}

/// One side speaks EBCDIC, the other ASCII: the device is never used, and it is said what to look at.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_with_other_characters_is_never_used() {
    for [ours, theirs] in [[Charset::Ascii, Charset::Ebcdic], [Charset::Ebcdic, Charset::Ascii]] {
        let device = device_in(theirs).await;
        let client = client_in(ours, &device).await;
        until(&client.hsm, "it is said", |devices| {
            devices[0].last_error.as_deref().is_some_and(|why| why.contains("ebcdic"))
        })
        .await;
        assert_eq!(client.hsm.diagnose().await, Err(HsmError::Unavailable), "{ours:?}");
        assert_eq!(client.hsm.devices()[0].state, "down");
        let stopped = tokio::time::timeout(Duration::from_secs(20), client.running.stop()).await;
        assert_eq!(stopped, Ok(()));
    }
}
