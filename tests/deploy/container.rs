//! The Dockerfile, read as far as it can be without a base image: no registry of images can be reached here, so nobody
//! has built it in these checks.

use std::fs;

use crate::{deploy, repository};

/// Instructions with their arguments, continued lines joined.
fn instructions() -> Vec<(String, String)> {
    let text = deploy("Dockerfile");
    let lines: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let joined = lines.join("\n").replace("\\\n", " ");
    let lines = joined.lines().filter(|line| !line.trim().is_empty());
    lines
        .map(|line| {
            let (word, rest) =
                line.split_once(' ').unwrap_or_else(|| panic!("no instruction: {line}"));
            (word.to_owned(), rest.split_whitespace().collect::<Vec<_>>().join(" "))
        })
        .collect()
}

#[test]
fn the_image_has_pinned_bases_no_root_and_nothing_secret() {
    let all = instructions();
    let known = [
        "ARG",
        "CMD",
        "COPY",
        "ENTRYPOINT",
        "ENV",
        "EXPOSE",
        "FROM",
        "HEALTHCHECK",
        "LABEL",
        "RUN",
        "STOPSIGNAL",
        "USER",
        "WORKDIR",
    ];
    for (word, rest) in &all {
        assert!(known.contains(&word.as_str()), "{word} {rest}");
        for secret in ["password", "secret", "token", "lmk"] {
            let is_named = rest.to_lowercase().contains(secret);
            assert!(!is_named, "{word} {rest}: secrets come when it runs");
        }
    }
    let bases: Vec<_> =
        all.iter().filter(|(word, _)| word == "FROM").map(|(_, base)| base).collect();
    assert_eq!(bases.len(), 2, "one to build in, one to run in");
    for base in &bases {
        let image = base.split(' ').next().expect("an image");
        let (_, tag) = image.rsplit_once(':').unwrap_or_else(|| panic!("{image} has no tag"));
        let numbers = tag.split('-').next().expect("a version");
        assert!(numbers.contains('.') && image.starts_with("docker.io/"), "{image} is not pinned");
    }
    let manifest: toml::Table =
        fs::read_to_string(repository("Cargo.toml")).expect("read").parse().expect("TOML");
    let least = manifest["package"]["rust-version"].as_str().expect("a version");
    assert!(bases[0].contains(&format!("rust:{least}.")), "{}: Cargo.toml wants {least}", bases[0]);
    let stage = all.iter().rposition(|(word, _)| word == "FROM").expect("a stage");
    let stage = &all[stage..];
    let of =
        |wanted: &str| stage.iter().find(|(word, _)| word == wanted).map(|(_, rest)| rest.as_str());
    assert_eq!(of("USER"), Some("10001:10001"), "as the manifests of Kubernetes say");
    assert_eq!(of("ENTRYPOINT"), Some("[\"/usr/bin/pinion\"]"));
    assert_eq!(of("STOPSIGNAL"), Some("SIGTERM"), "it drains");
    assert!(of("HEALTHCHECK").is_some_and(|check| check.contains("CMD [\"/usr/bin/pinion\"")));
    assert!(
        all.iter().any(|(_, rest)| rest.contains("cargo build --locked --release --bin pinion"))
    );
}

/// What the build needs is let through, and what may lie beside it is not.
#[test]
fn the_build_gets_the_sources_and_nothing_else() {
    let text = fs::read_to_string(repository(".dockerignore")).expect("read");
    let lines: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(lines[0], "*", "everything is left out that is not named");
    let allowed: Vec<_> = lines[1..]
        .iter()
        .map(|line| line.strip_prefix('!').unwrap_or_else(|| panic!("{line}: names what goes in")))
        .collect();
    for path in &allowed {
        assert!(repository(path).exists(), "{path}");
    }
    for path in ["target", ".git", "tests", "fuzz"] {
        assert!(!allowed.contains(&path), "{path}");
    }
    let mut ahead = vec![repository("src")];
    let mut seen = 0;
    while let Some(directory) = ahead.pop() {
        for path in
            fs::read_dir(directory).expect("a directory").map(|e| e.expect("an entry").path())
        {
            if path.is_dir() {
                ahead.push(path);
                continue;
            }
            let text = fs::read_to_string(&path).unwrap_or_default();
            for name in
                text.split("include_str!(\"").skip(1).filter_map(|rest| rest.split('"').next())
            {
                let file =
                    path.parent().expect("a directory").join(name).canonicalize().expect("there");
                let is_test = file.starts_with(repository("tests"));
                let is_in = allowed.iter().any(|entry| file.starts_with(repository(entry)));
                assert!(is_test || is_in, "{} needs {}", path.display(), file.display());
                seen += 1;
            }
        }
    }
    assert!(5 < seen, "the walk starts in the wrong place");
}
