//! Blocks that leave, in part or in every branch: what compiles without the budget does so inside.
#![forbid(
    dead_code,
    unreachable_code,
    unreachable_patterns,
    unused_assignments,
    unused_braces,
    unused_labels,
    unused_mut,
    unused_must_use,
    unused_parens,
    unused_unsafe,
    unused_variables
)]
#![deny(warnings)]

use alloc_tracker::{assert_budget, assert_no_alloc};
use std::convert::Infallible;
use std::future::ready;

macro_rules! leave {
    ($value:expr) => {
        return $value
    };
}

pub fn ends(code: u8) -> ! {
    std::process::exit(code.into())
}

pub fn fails(code: u8) -> Infallible {
    ends(code)
}

pub fn if_else(x: bool) -> u8 {
    assert_budget!(allocs <= 0, { if x { return 1 } else { return 2 } })
}

pub fn if_else_in_a_statement(x: bool) -> u8 {
    assert_budget!(allocs <= 0, { if x { return 1 } else { return 2 } });
}

pub fn if_else_of_statements(x: bool) -> u8 {
    assert_budget!(allocs <= 0, {
        if x {
            return 1;
        } else {
            return 2;
        }
    });
}

pub fn if_else_if(x: u8) -> u8 {
    assert_no_alloc!({
        if let 1 = x {
            return 1;
        } else if x == 2 {
            return 2;
        } else {
            panic!("{x}")
        }
    });
}

pub fn match_of_leaving_arms(x: u8) -> u8 {
    assert_budget!(allocs <= 0, {
        match x {
            1 | 2 => return 1,
            3 if x > 2 => todo!(),
            4 => {
                return 4;
            }
            _ => panic!(),
        }
    });
}

pub fn match_of_ends(x: u8) -> u8 {
    assert_budget!(allocs <= 0, {
        match x {
            1 => leave!(1),
            _ => ends(x),
        }
    })
}

pub fn infinite(mut x: u8) -> u8 {
    assert_budget!(allocs <= 0, {
        loop {
            x += 1;
            if x == 9 {
                return x;
            }
        }
    });
}

pub fn infinite_with_a_value(mut x: u8) -> u8 {
    assert_budget!(allocs <= 0, {
        loop {
            x += 1;
            if x == 9 {
                break x;
            }
        }
    })
}

pub fn loops(list: &[u8]) -> u8 {
    let mut sum = 0;
    for &n in list {
        assert_budget!(allocs <= 0, {
            match n {
                0 => continue,
                1 => {}
                _ => return n,
            }
        });
        sum += n;
    }
    'all: for &n in list {
        assert_no_alloc!({
            match n {
                0 => continue 'all,
                _ => break 'all,
            }
        });
    }
    sum
}

pub fn alone(x: u8) -> u8 {
    assert_budget!(allocs <= 0, return x)
}

pub fn alone_in_a_block(x: u8) -> u8 {
    assert_budget!(allocs <= 0, { return x });
}

pub fn of_a_function(x: u8) -> u8 {
    assert_budget!(allocs <= 0, { std::process::exit(x.into()) })
}

pub fn of_a_function_in_a_statement(x: u8) -> u8 {
    assert_budget!(allocs <= 0, {
        ends(x);
    });
}

pub fn of_a_function_that_never_returns(x: u8) -> ! {
    assert_budget!(allocs <= 0, {
        ends(x);
    })
}

pub fn of_an_empty_type(x: u8) -> Infallible {
    assert_budget!(allocs <= 0, fails(x))
}

pub fn of_a_macro(x: u8) -> u8 {
    assert_budget!(allocs <= 0, { leave!(x) })
}

pub fn after_other_statements(x: u8) -> u8 {
    assert_budget!(allocs <= 0, {
        let Some(y) = x.checked_add(1) else { return 1 };
        if y == 2 {
            return 3;
        }
        return y;
    });
}

pub fn labelled(x: u8) -> u8 {
    assert_budget!(allocs <= 0, {
        'early: {
            if x == 1 {
                break 'early;
            }
            return 2;
        }
        return 1;
    });
}

pub fn unsafely(pointer: *const u8) -> u8 {
    assert_budget!(allocs <= 0, {
        // SAFETY: it need only compile.
        unsafe { return *pointer }
    });
}

pub fn in_an_else(x: Option<u8>) -> u8 {
    let Some(y) = x else {
        assert_budget!(allocs <= 0, { return 1 });
    };
    let z = match y {
        0 => assert_budget!(allocs <= 0, { return 1 }),
        y => y,
    };
    z + 1
}

pub fn assigned_in_the_block(x: u8) -> (u8, u8) {
    let (y, z);
    assert_budget!(allocs <= 0, {
        y = x;
        z = y
    });
    (y, z)
}

pub fn assigned_where_it_does_not_leave(x: u8) -> u8 {
    let y;
    if x == 1 {
        assert_budget!(allocs <= 0, { return 1 });
    } else {
        y = 2;
    }
    y
}

pub fn moved(text: String) -> String {
    if text.is_empty() {
        assert_budget!(frees <= 1, {
            drop(text);
            return String::new();
        });
    }
    text
}

pub fn coerced(x: u8) -> Result<Box<dyn Fn() -> u8>, Box<dyn std::error::Error>> {
    let made: Box<dyn Fn() -> u8> = assert_budget!(allocs <= 1, {
        match x {
            0 => return Err("none".into()),
            x => Box::new(move || x),
        }
    });
    Ok(made)
}

pub fn inferred_later(x: u8) -> Vec<u8> {
    let mut list = assert_budget!(allocs <= 1, {
        if x == 0 {
            return vec![];
        }
        Vec::new()
    });
    list.push(x);
    list
}

pub fn asks(text: &str) -> Result<u8, std::num::ParseIntError> {
    let n: u8 = assert_budget!(allocs <= 1, { text.parse()? });
    Ok(assert_budget!(allocs <= 1, text.parse::<u8>()?) + n)
}

pub fn in_a_closure(list: &[u8]) -> usize {
    let leaves = |n: &&u8| {
        assert_budget!(allocs <= 0, {
            if **n > 1 { return true } else { return false }
        })
    };
    list.iter().filter(leaves).count()
}

pub async fn awaits(x: u8) -> u8 {
    assert_budget!(allocs <= 0, {
        if ready(x).await == 1 {
            return 1;
        } else {
            return 2;
        }
    })
}

pub async fn awaits_in_a_match(x: u8) -> u8 {
    loop {
        assert_budget!(allocs <= 0, {
            match ready(x).await {
                0 => continue,
                1 => break,
                n => return n,
            }
        });
    }
    assert_budget!(allocs <= 0, {
        let n = ready(x).await;
        ends(n)
    })
}

pub async fn a_future_of_its_own(x: u8) -> u8 {
    assert_budget!(allocs <= 0, async {
        if x == 1 {
            return 1;
        }
        match ready(x).await {
            0 => return 2,
            n => n,
        }
    })
}

pub fn breaks_an_inner_loop(mut n: u8) -> u8 {
    assert_budget!(allocs <= 0, {
        loop {
            for i in 0..n {
                if i == 2 {
                    break;
                }
            }
            n += 1;
            if n > 9 {
                return n;
            }
        }
    });
}

pub fn breaks_an_inner_loop_at_once(n: u8) -> u8 {
    assert_budget!(allocs <= 0, {
        loop {
            loop {
                if n < 9 {
                    break;
                }
            }
            return n;
        }
    });
}

pub fn breaks_in_a_closure(n: u8) -> u8 {
    assert_budget!(allocs <= 0, {
        'again: loop {
            let _ends = || {
                for _ in 0..n {
                    break;
                }
            };
            if n > 3 {
                return n;
            } else {
                continue 'again;
            }
        }
    });
}

pub fn breaks_in_an_arm(n: u8) -> u8 {
    assert_budget!(allocs <= 0, {
        match n {
            0 => loop {
                while n == 1 {
                    break;
                }
                return 1;
            },
            _ => return 2,
        }
    });
}

pub fn of_macros_by_their_path(n: u8) -> u8 {
    assert_budget!(allocs <= 0, {
        match n {
            0 => std::unreachable!(),
            1 => std::panic!("{n}"),
            2 => core::todo!(),
            _ => return n,
        }
    });
}

pub mod errors {
    #[macro_export]
    macro_rules! give_up {
        ($($message:tt)*) => {
            return Err(format!($($message)*))
        };
    }
}

pub fn of_a_macro_by_its_path(read: Result<u8, u8>) -> Result<u8, String> {
    assert_budget!(allocs <= 1, {
        match read {
            Ok(n) => return Ok(n),
            Err(n) => crate::give_up!("{n}"),
        }
    });
}

pub fn of_a_budget_that_leaves(n: u8) -> u8 {
    assert_budget!(allocs <= 0, {
        if n == 1 {
            return 2;
        }
        assert_budget!(allocs <= 0, { return 3 })
    });
}

pub fn of_a_function_without_a_semicolon(x: u8) -> u8 {
    assert_budget!(allocs <= 0, { ends(x) });
}

pub fn of_a_function_that_never_returns_as_a_value(x: u8) -> ! {
    assert_budget!(allocs <= 0, ends(x))
}

pub async fn awaits_and_leaves(n: u8) -> u8 {
    assert_budget!(allocs <= 0, {
        loop {
            for i in 0..ready(n).await {
                if i == 2 {
                    break;
                }
            }
            return n;
        }
    });
}

fn main() {}
