use super::*;
use proptest::prelude::*;
use std::sync::LazyLock;
use tracing::callsite::{Callsite, Identifier};
use tracing::field::FieldSet;
use tracing::metadata::Kind;
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;

const LEVELS: [Level; 5] = [
    Level::ERROR,
    Level::WARN,
    Level::INFO,
    Level::DEBUG,
    Level::TRACE,
];

struct Nowhere;

impl Callsite for Nowhere {
    fn set_interest(&self, _: tracing::subscriber::Interest) {}

    fn metadata(&self) -> &Metadata<'_> {
        unreachable!("nobody asks")
    }
}

fn span(target: &'static str, level: Level) -> &'static Metadata<'static> {
    static NOWHERE: Nowhere = Nowhere;
    let fields = FieldSet::new(&[], Identifier(&NOWHERE));
    let metadata = Metadata::new("s", target, level, None, None, None, fields, Kind::SPAN);
    Box::leak(Box::new(metadata))
}

/// Whether a filter of this text lets such a span pass.
fn passes(text: &str, target: &'static str, level: Level) -> bool {
    let filter: UnitFilter = text.parse().unwrap();
    filter.lets_pass(span(target, level))
}

#[test]
fn what_the_writer_meant_is_what_counts() {
    for (text, target, most) in [
        ("warn, shop=debug", "shop::cart", Level::DEBUG),
        ("warn, shop=debug", "jobs", Level::WARN),
        (" warn ,\n\tshop = debug\n", "shop", Level::DEBUG),
        ("off,my-crate=debug", "my_crate::db", Level::DEBUG),
        ("off,my-crate=debug", "my-crate", Level::DEBUG),
        ("off,my-crate=debug,my_crate=warn", "my_crate", Level::WARN),
        ("off,my_crate=warn,my-crate=debug", "my_crate", Level::WARN),
        ("off,shop.http=info", "shop::http::v1", Level::INFO),
        ("off,shop.http=info", "shop.http", Level::INFO),
        ("off,shop/http=info", "shop::http", Level::INFO),
        ("off,shop:http=info", "shop::http", Level::INFO),
        ("INFO,shop=TRACE", "shop", Level::TRACE),
        ("2,shop=5", "jobs", Level::WARN),
        ("info,shop", "shop", Level::TRACE),
        ("shop=warn,shop=debug", "shop", Level::DEBUG),
        ("debug,shop::cart=error", "shop::cart", Level::ERROR),
        ("debug,shop::=error", "shop::cart", Level::ERROR),
        ("debug,größe=error", "größe", Level::ERROR),
        ("off,shop::type=info", "shop::r#type::v1", Level::INFO),
        ("off,shop::type=info", "shop::type", Level::INFO),
        (
            "off,shop::async::type=info",
            "shop::r#async::r#type",
            Level::INFO,
        ),
        (
            "off,shop::async::type=info",
            "shop::async::r#type",
            Level::INFO,
        ),
        ("off,shop::r#async=info", "shop::r#async", Level::INFO),
        ("off,shop::r#cart=info", "shop::cart", Level::INFO),
        ("off,async=info", "r#async", Level::INFO),
        ("off,my-shop.match=info", "my_shop::r#match", Level::INFO),
        ("off,r#default=info", "default", Level::INFO),
        ("off,r#all::jobs=info", "all::jobs", Level::INFO),
        ("off,error::x=debug", "error::x::y", Level::DEBUG),
        ("off,info::http=debug", "info::http", Level::DEBUG),
        ("warn,Trace::x", "Trace::x", Level::TRACE),
        ("off,trace::error", "trace::error", Level::TRACE),
    ] {
        for level in LEVELS {
            let passes = passes(text, target, level);
            assert_eq!(passes, level <= most, "{text:?}: {target} at {level}");
        }
    }
}

#[test]
fn what_nothing_could_match_is_refused_with_its_place_and_the_mend() {
    for (text, column, part, mend) in [
        ("", 1, "", "there is nothing"),
        (" \t", 3, "", "there is nothing"),
        (" , ,", 2, "", "there is nothing"),
        (
            "RUST_LOG=debug",
            1,
            "RUST_LOG=debug",
            "leave `RUST_LOG=` away",
        ),
        ("info/x", 1, "info/x", "info is a level"),
        ("info::", 1, "info::", "info is a level"),
        ("1::x=info", 1, "1::x=info", "1 is a level"),
        ("debug.shop=info", 1, "debug.shop=info", "debug is a level"),
        ("debug:shop", 1, "debug:shop", "debug is a level"),
        ("_=debug", 1, "_=debug", "no name in it"),
        ("+shop", 1, "+shop", "write shop"),
        ("a=info,b=loud", 8, "b=loud", "error, warn, info"),
        ("a=info, b=warning", 9, "b=warning", "write b=warn"),
        ("warning", 1, "warning", "write warn"),
        (
            "all",
            1,
            "all",
            "write trace: leave it away for all targets",
        ),
        ("all", 1, "all", "if a crate is named so, write r#all"),
        ("root", 1, "root", "write trace: leave it away"),
        (
            "info,default=debug",
            6,
            "default=debug",
            "write debug: leave",
        ),
        (
            "Root=warning",
            1,
            "Root=warning",
            "write warn: leave it away",
        ),
        ("all=loud", 1, "all=loud", "write info: leave it away"),
        ("default:debug", 1, "default:debug", "write debug: leave it"),
        ("* = debug", 1, "* = debug", "write debug: there are no"),
        ("self=debug", 1, "self=debug", "name of its crate"),
        ("a,shop::super=info", 3, "shop::super=info", "named `super`"),
        ("shop::r#self=info", 1, "shop::r#self=info", "named `self`"),
        ("sh\u{200b}op=info", 3, "\u{200b}", "U+200B at column 3"),
        ("info,a\u{3164}=warn", 7, "\u{3164}", "leave it out"),
        ("\u{feff}info", 1, "\u{feff}", "U+FEFF at column 1"),
        ("info,a\u{ad}", 7, "\u{ad}", "U+00AD at column 7"),
        ("none", 1, "none", "write off"),
        ("6", 1, "6", "0 (off) to 5 (trace)"),
        ("info;warn", 1, "info;warn", "commas"),
        ("info warn", 1, "info warn", "commas"),
        ("a=info;b=warn", 1, "a=info;b=warn", "commas"),
        ("a=info b=warn", 1, "a=info b=warn", "commas"),
        ("info,shop::*=debug", 6, "shop::*=debug", "write shop"),
        ("*=debug", 1, "*=debug", "leave it away"),
        ("info,ä=*,b", 6, "ä=*", "write ä=trace"),
        ("ä=info,[span]=debug", 8, "[span]=debug", "no brackets"),
        ("a[span]=info", 1, "a[span]=info", "no brackets"),
        ("a[{x=1,y=2}]=info", 1, "a[{x=1", "no brackets"),
        ("shop=", 1, "shop=", "no level after"),
        ("=debug", 1, "=debug", "a level alone"),
        ("debug=shop", 1, "debug=shop", "write shop=debug"),
        ("shop=debug=info", 1, "shop=debug=info", "commas"),
        ("shop:debug", 1, "shop:debug", "write shop=debug"),
        ("\"shop=debug\"", 1, "\"shop=debug\"", "quotes"),
        ("::shop=debug", 1, "::shop=debug", "write shop"),
        (
            "crate::shop=debug",
            1,
            "crate::shop=debug",
            "name of its crate",
        ),
        ("shop:::cart", 1, "shop:::cart", "between two"),
        ("shop..cart=info", 1, "shop..cart=info", "between two"),
        ("info,-hyper", 6, "-hyper", "write hyper=off"),
        ("shop\0=debug", 1, "shop\0=debug", "commas"),
        ("info，shop=warn", 1, "info，shop=warn", "commas"),
        ("shop→cart", 1, "shop→cart", "is in no target"),
        (
            "क\u{94d}\u{200d}ष",
            1,
            "क\u{94d}\u{200d}ष",
            "is in no target",
        ),
        ("🦀=debug", 1, "🦀=debug", "is in no target"),
        (
            "gro\u{308}ße",
            1,
            "gro\u{308}ße",
            "one character of o\u{308}",
        ),
        ("か\u{3099}", 1, "か\u{3099}", "one character"),
        (
            "\u{1112}\u{1161}\u{11ab}",
            1,
            "\u{1112}\u{1161}\u{11ab}",
            "one character",
        ),
        ("하\u{11ab}", 1, "하\u{11ab}", "one character"),
    ] {
        let error = text.parse::<UnitFilter>().unwrap_err();
        let place = (error.column(), error.part());
        assert_eq!(place, (column, part), "{text:?}: {error}");
        let message = error.to_string();
        assert!(message.contains(mend), "{text:?}: {message}");
        assert!(message.contains(&format!("column {column}: ")), "{message}");
        assert!(message.contains("shop::http=info"), "{message}");
        assert!(!message.contains(char::is_control), "{message:?}");
        assert_eq!(text.parse::<EventFilter>().unwrap_err(), error);
    }
}

/// Names of modules with what is no letter by itself.
mod names_of_the_language {
    macro_rules! module {
        ($($name:ident)*) => {
            $(pub(super) mod $name { pub(super) const PATH: &str = module_path!(); })*
            pub(super) const ALL: &[(&str, &str)] = &[$((stringify!($name), $name::PATH)),*];
        };
    }
    module! { हिन्दी தமிழ் col·lecció 한국어 が ภาษาไทย }
}

#[test]
fn what_the_language_takes_for_a_name_is_taken() {
    // The compiler takes them, too, with a warning that only a whole crate can be without.
    let uncommon = [("e‿f", "e‿f"), ("℘", "shop::℘")];
    for (name, path) in names_of_the_language::ALL.iter().chain(&uncommon) {
        assert!(passes(&format!("off,{path}=info"), path, Level::INFO));
        assert!(passes(
            &format!("off,{name}::x=info"),
            format!("{name}::x").leak(),
            Level::INFO
        ));
        let scope = format!("for=60s&target={path}");
        assert!(scope.parse::<crate::Incident>().is_ok(), "{scope}");
    }
}

mod r#async {
    pub(super) mod r#gen {
        pub(in super::super) const PATH: &str = module_path!();
    }
    pub(super) mod r#match {
        pub(in super::super) const PATH: &str = module_path!();
    }
}

#[test]
fn a_module_that_is_named_like_a_word_of_the_language_is_meant_by_the_word() {
    for (module, path) in [
        ("gen", r#async::r#gen::PATH),
        ("match", r#async::r#match::PATH),
    ] {
        let text = format!("off,telemetry::subscriber::filter::tests::async::{module}=info");
        assert!(passes(&text, path, Level::INFO), "{path}");
    }
}

/// Targets that parts of random filters are about, or about a part of, or not.
static TARGETS: LazyLock<Vec<&'static Metadata<'static>>> = LazyLock::new(|| {
    let targets = [
        "shop",
        "shop::cart",
        "shop::cart::v1",
        "shopping",
        "my_shop",
        "hyper",
        "",
        "x1",
        "h",
        "info::x::y",
    ];
    let of = |target| LEVELS.map(|level| span(target, level));
    targets.into_iter().flat_map(of).collect()
});

/// Filters that are mostly right.
fn filters() -> impl Strategy<Value = String> {
    let target = prop_oneof![
        Just("shop"),
        Just("shop::"),
        Just("shop::cart"),
        Just("shop::c"),
        Just("my_shop"),
        Just("s"),
        Just("x1"),
        Just("hyper"),
        Just("info"),
        Just("info::x"),
        Just("é"),
        Just(":"),
    ];
    let level = prop_oneof![
        Just("trace"),
        Just("DEBUG"),
        Just("Info"),
        Just("warn"),
        Just("error"),
        Just("off"),
        Just("0"),
        Just("5"),
        Just("6"),
        Just("loud"),
        Just(""),
    ];
    let part = prop_oneof![
        4 => (target.clone(), level.clone()).prop_map(|(target, level)| format!("{target}={level}")),
        1 => target.prop_map(str::to_owned),
        1 => level.prop_map(str::to_owned),
    ];
    prop::collection::vec(part, 0..5).prop_map(|parts| parts.join(","))
}

proptest! {
    #[test]
    fn what_env_filter_takes_too_means_the_same(text in filters()) {
        let (Ok(ours), Ok(theirs)) = (text.parse::<UnitFilter>(), EnvFilter::builder().parse(&text))
        else {
            return Ok(());
        };
        let theirs = tracing_subscriber::registry().with(theirs);
        for &metadata in &*TARGETS {
            let expected = tracing::Subscriber::enabled(&theirs, metadata);
            prop_assert_eq!(ours.lets_pass(metadata), expected, "{:?}: {:?}", text, metadata);
        }
    }

    #[test]
    fn what_targets_take_too_means_the_same(text in filters()) {
        let (Ok(ours), Ok(theirs)) = (text.parse::<EventFilter>(), text.parse::<Targets>()) else {
            return Ok(());
        };
        if text.split(',').any(|part| part.trim().is_empty()) {
            // Nothing to `EnvFilter`, all errors to `Targets`.
            return Ok(());
        }
        for &metadata in &*TARGETS {
            let expected = theirs.would_enable(metadata.target(), metadata.level());
            prop_assert_eq!(ours.lets_pass(metadata), expected, "{:?}: {:?}", text, metadata);
        }
    }

    #[test]
    fn no_text_is_too_strange(text in "(\\PC|[\\s,;=:*\\[\\]{}\"-]|info|shop){0,20}") {
        if let Err(error) = text.parse::<UnitFilter>() {
            let from = text.chars().skip(error.column() - 1).collect::<String>();
            prop_assert!(from.starts_with(error.part()), "{error}");
            prop_assert!(!error.to_string().contains(char::is_control));
        }
    }
}

#[test]
fn a_target_means_each_path_once_and_not_itself() {
    let paths = super::target::module_paths;
    assert!(paths("shop::http").is_empty());
    assert_eq!(paths("my-shop"), ["my_shop"]);
    assert_eq!(paths("shop::type"), ["shop::r#type"]);
    assert_eq!(paths("shop::async"), ["shop::r#async"]);
}
