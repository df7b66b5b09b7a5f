//! Whose code it is, by what builds of many kinds say.

use super::*;
use std::sync::Arc;

fn function(name: &str, is_foreign: bool, source: Option<Source>) -> Function {
    Function {
        name: name.into(),
        mangled: name.into(),
        source: source.map(Arc::new),
        line: None,
        compiled_in: None,
        is_foreign,
        whose: Whose::Nobody,
    }
}

#[test]
fn without_lines_the_crates_in_a_name_tell() {
    let whose = |name| Landmarks::default().whose(&function(name, false, None), |_| Whose::Users);
    for (name, expected) in [
        ("shop::price", Whose::Unplaced),
        ("clone_config::run", Whose::Unplaced),
        ("हिन्दी::चलाओ", Whose::Unplaced),
        ("col·lecció::f", Whose::Unplaced),
        ("<alloc::vec::Vec<u8> as shop::Ext>::f", Whose::Unplaced),
        ("<shop::Cart as core::clone::Clone>::clone", Whose::Unplaced),
        ("<u32 as core::fmt::Display>::fmt", Whose::Standard),
        (
            "<&mut [alloc::string::String] as core::fmt::Debug>::fmt",
            Whose::Standard,
        ),
        ("std::rt::lang_start", Whose::Standard),
        ("<alloc::vec::Vec<T>>::push", Whose::Standard),
        ("alloc_tracker::engine::sites::note", Whose::Trackers),
        ("__rustc::__rust_alloc", Whose::Trackers),
        (
            "<shop::A as core::alloc::global::GlobalAlloc>::alloc",
            Whose::Trackers,
        ),
    ] {
        assert_eq!(whose(name), expected, "{name}");
    }
    let c = function("start_thread", true, None);
    assert_eq!(
        Landmarks::default().whose(&c, |_| Whose::Users),
        Whose::Foreign
    );
}

#[test]
fn where_lines_are_lost_with_a_file_the_folder_that_it_was_compiled_in_tells() {
    let whose = |name, folder: &str| {
        let function = Function {
            compiled_in: Some(Arc::new(Source::new(folder.into(), None))),
            ..function(name, false, None)
        };
        let landmarks = Landmarks::default();
        landmarks.whose(&function, |source| landmarks.whose_source(source))
    };
    let registry = "/home/me/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/price-1.0.0";
    let checkout = "/home/me/.cargo/git/checkouts/price-0123456789abcdef/01234567";
    for (name, folder, expected) in [
        ("shop::price::small", "/home/me/shop", Whose::Users),
        ("shop::price::small", "", Whose::Users),
        ("no_mangle", "/home/me/shop", Whose::Users),
        ("price::small", registry, Whose::Dependencys),
        ("price::small", checkout, Whose::Dependencys),
        (
            "<alloc::vec::Vec<T>>::push",
            "/home/me/shop",
            Whose::Standard,
        ),
        ("alloc_tracker::enforce::f", registry, Whose::Trackers),
    ] {
        assert_eq!(whose(name, folder), expected, "{name} in {folder}");
    }
}

/// What a build says, as the locations that it tells; and whose some files are by it.
struct Build {
    core: &'static str,
    hashbrown: &'static str,
    own: &'static str,
    dependency: &'static str,
    files: &'static [(&'static str, Whose)],
}

#[test]
fn with_lines_the_folders_tell_that_this_build_has_told() {
    use Whose::{Dependencys, Standard, Trackers, Users};
    for build in [
        // The compiler of rustup, packages of Cargo.
        Build {
            core: "/rustc/0123abcd/library/core/src/ops/function.rs",
            hashbrown: "/rust/deps/hashbrown-0.16.1/src/map.rs",
            own: "/home/me/.cargo/registry/src/index-0123456789abcdef/lightweight-alloc-tracker-0.1.0/src/symbols/whose.rs",
            dependency: "/home/me/.cargo/registry/src/index-0123456789abcdef/object-0.40.0/src/read/read_ref.rs",
            files: &[
                ("/rustc/0123abcd/library/std/src/thread/local.rs", Standard),
                ("/rust/deps/gimli-0.32/src/lib.rs", Standard),
                ("/rust/mine/src/lib.rs", Users),
                ("/home/me/shop/src/lib.rs", Users),
                (
                    "/home/me/.cargo/registry/src/index-0123456789abcdef/serde-1.0.0/src/lib.rs",
                    Dependencys,
                ),
                (
                    "/home/me/.cargo/git/checkouts/shop-0123456789abcdef/abcdef0/src/lib.rs",
                    Dependencys,
                ),
                ("/home/me/registry/src/deep/er/lib.rs", Users),
            ],
        },
        // A distribution's compiler, packages in a folder of the project.
        Build {
            core: "/usr/src/rustc-1.96.0/library/core/src/ops/function.rs",
            hashbrown: "/usr/src/rustc-1.96.0/vendor/hashbrown-0.16.1/src/map.rs",
            own: "/build/shop/vendor/lightweight-alloc-tracker/src/symbols/whose.rs",
            dependency: "/build/shop/vendor/object/src/read/read_ref.rs",
            files: &[
                (
                    "/usr/src/rustc-1.96.0/library/std/src/thread/local.rs",
                    Standard,
                ),
                (
                    "/usr/src/rustc-1.96.0/vendor/memchr-2.7.0/src/lib.rs",
                    Standard,
                ),
                ("/build/shop/vendor/serde/src/lib.rs", Dependencys),
                ("/build/shop/src/main.rs", Users),
                (
                    "/build/shop/vendor/lightweight-alloc-tracker/src/lib.rs",
                    Trackers,
                ),
            ],
        },
        // A standard library that was built with the program; its packages are among the others.
        Build {
            core: "/home/me/.rustup/toolchains/nightly/lib/rustlib/src/rust/library/core/src/ops/function.rs",
            hashbrown: "/home/me/.cargo/registry/src/index-0123456789abcdef/hashbrown-0.16.1/src/map.rs",
            own: "/home/me/tracker/alloc-tracker/src/symbols/whose.rs",
            dependency: "/home/me/.cargo/registry/src/index-0123456789abcdef/object-0.40.0/src/read/read_ref.rs",
            files: &[
                (
                    "/home/me/.rustup/toolchains/nightly/lib/rustlib/src/rust/library/alloc/src/vec/mod.rs",
                    Standard,
                ),
                (
                    "/home/me/.cargo/registry/src/index-0123456789abcdef/hashbrown-0.16.1/src/raw/mod.rs",
                    Standard,
                ),
                (
                    "/home/me/.cargo/registry/src/index-0123456789abcdef/serde-1.0.0/src/lib.rs",
                    Dependencys,
                ),
                ("/home/me/tracker/alloc-tracker/tests/it.rs", Users),
            ],
        },
        // Bazel.
        Build {
            core: "/rustc/0123abcd/library/core/src/ops/function.rs",
            hashbrown: "/rust/deps/hashbrown-0.16.1/src/map.rs",
            own: "external/crates__lightweight-alloc-tracker-0.1.0/src/symbols/whose.rs",
            dependency: "external/crates__object-0.40.0/src/read/read_ref.rs",
            files: &[
                ("external/crates__serde-1.0.0/src/lib.rs", Dependencys),
                ("shop/src/lib.rs", Users),
                (
                    "external/crates__lightweight-alloc-tracker-0.1.0/src/unit.rs",
                    Trackers,
                ),
            ],
        },
        // Buck, which unpacks each package into a folder of its own.
        Build {
            core: "/rustc/0123abcd/library/core/src/ops/function.rs",
            hashbrown: "/rust/deps/hashbrown-0.16.1/src/map.rs",
            own: "buck-out/v2/gen/root/0123/third-party/rust/__lightweight-alloc-tracker-0.1.0.crate__/lightweight-alloc-tracker-0.1.0.crate/src/symbols/whose.rs",
            dependency: "buck-out/v2/gen/root/0123/third-party/rust/__object-0.40.0.crate__/object-0.40.0.crate/src/read/read_ref.rs",
            files: &[
                (
                    "buck-out/v2/gen/root/0123/third-party/rust/__serde-1.0.0.crate__/serde-1.0.0.crate/src/lib.rs",
                    Dependencys,
                ),
                ("shop/src/lib.rs", Users),
            ],
        },
        // Paths that were mapped to relative ones.
        Build {
            core: "/rustc/0123abcd/library/core/src/ops/function.rs",
            hashbrown: "/rust/deps/hashbrown-0.16.1/src/map.rs",
            own: "lib/alloc-tracker/src/symbols/whose.rs",
            dependency: "deps/object-0.40.0/src/read/read_ref.rs",
            files: &[
                ("deps/serde-1.0.0/src/lib.rs", Dependencys),
                ("lib/alloc-tracker/src/unit.rs", Trackers),
                ("src/main.rs", Users),
            ],
        },
        // Trimmed paths.
        Build {
            core: "/rustc/0123abcd/library/core/src/ops/function.rs",
            hashbrown: "/rust/deps/hashbrown-0.16.1/src/map.rs",
            own: "lightweight-alloc-tracker-0.1.0/src/symbols/whose.rs",
            dependency: "object-0.40.0/src/read/read_ref.rs",
            files: &[
                ("serde-1.0.0/src/lib.rs", Dependencys),
                ("src/main.rs", Users),
                ("shop/src/lib.rs", Users),
            ],
        },
    ] {
        let mut landmarks = Landmarks::from_files(
            build.core,
            Some(build.hashbrown),
            build.own,
            Some(build.dependency),
        );
        landmarks.prefer_full_paths();
        for &(file, whose) in build.files {
            let source = Source::new(file.into(), None);
            assert_eq!(
                landmarks.whose_source(&source),
                whose,
                "{file} by {}",
                build.own
            );
        }
    }
}

#[test]
fn this_build_tells() {
    assert!(file_of_core().ends_with(".rs"), "{}", file_of_core());
    assert!(file_of_hashbrown().is_some());
    let landmarks = Landmarks::told_by_this_build();
    assert!(!landmarks.standard.is_empty() && !landmarks.own.is_empty());
}
