use super::*;

fn rules(commands: CommandSet, prefix: &str, read_only: bool) -> Rules {
    Rules::new(RulesSpec { commands, key_prefix: prefix, read_only, key_bytes_max: 16 }).unwrap()
}

fn named(names: &[&str]) -> CommandSet {
    CommandSet::Named(names.iter().map(|name| (*name).into()).collect())
}

fn admit(line: &[&[u8]]) -> Result<Vec<u8>, Refusal> {
    admit_with(&rules(CommandSet::AllSafe, "app:", false), line)
}

/// What was appended. Also checks that a refusal appends nothing.
fn admit_with(rules: &Rules, line: &[&[u8]]) -> Result<Vec<u8>, Refusal> {
    let mut out = b"before".to_vec();
    let admitted = rules.admit(line, &mut out);
    let appended = out.strip_prefix(b"before").expect("what was there stays").to_vec();
    assert!(admitted.is_ok() || appended.is_empty());
    admitted.map(|_| appended)
}

fn encoded(line: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    resp::put_command(&mut out, line);
    out
}

#[test]
fn every_key_gets_the_prefix_and_nothing_else_does() {
    assert_eq!(admit(&[b"GET", b"k"]), Ok(encoded(&[b"GET", b"app:k"])));
    assert_eq!(
        admit(&[b"mSet", b"a", b"b", b"c", b"d"]),
        Ok(encoded(&[b"mSet", b"app:a", b"b", b"app:c", b"d"]))
    );
    let group: [&[u8]; 6] = [b"XGROUP", b"create", b"s", b"g", b"$", b"MKSTREAM"];
    assert_eq!(admit(&group), Ok(encoded(&[b"XGROUP", b"create", b"app:s", b"g", b"$", b"MKSTREAM"])));
}

#[test]
fn strange_keys_stay_behind_the_prefix() {
    for key in
        [&b""[..], b"\0", b"\xff\xfe", b"{other}", b"}{", b"\r\n", b"*3\r\n$3\r\nSET", b"app:", b"../x"]
    {
        let expected = encoded(&[b"GET", &[b"app:", key].concat()]);
        assert_eq!(admit(&[b"GET", key]), Ok(expected), "{key:?}");
    }
}

#[test]
fn a_key_as_long_as_the_limit_passes_and_a_longer_one_does_not() {
    assert!(admit(&[b"GET", &[b'k'; 16]]).is_ok());
    assert!(matches!(admit(&[b"GET", &[b'k'; 17]]), Err(Refusal::Invalid(_))));
    assert!(matches!(admit(&[b"DEL", b"a", &[b'k'; 17]]), Err(Refusal::Invalid(_))));
    assert!(matches!(admit(&[b"SCAN", b"0", b"MATCH", &[b'k'; 17]]), Err(Refusal::Invalid(_))));
    assert!(admit(&[b"SET", b"k", &[b'v'; 17]]).is_ok());
}

#[test]
fn an_empty_command_is_invalid() {
    assert!(matches!(admit(&[]), Err(Refusal::Invalid(_))));
    assert!(matches!(admit(&[b""]), Err(Refusal::Denied(_))));
}

#[test]
fn unknown_names_and_rows_of_subcommands_are_denied() {
    for name in [&b"NOSUCH"[..], b"xgroup|create", b"GET\0", b" GET", b"JSON.SET", b"ft.search"] {
        assert!(matches!(admit(&[name, b"k", b"g", b"$"]), Err(Refusal::Denied(_))), "{name:?}");
    }
    for sub in [&b""[..], b"nosuch", b"create|x", b"|create", b"create\0", &[b'x'; 64]] {
        assert!(matches!(admit(&[b"XGROUP", sub, b"k", b"g", b"$"]), Err(Refusal::Denied(_))), "{sub:?}");
    }
    assert!(matches!(admit(&[b"XGROUP"]), Err(Refusal::Invalid(_))));
}

#[test]
fn what_must_never_be_called_is_refused_in_any_case_with_a_way_out() {
    let names = "multi exec discard select auth hello reset quit client asking readonly readwrite subscribe \
        psubscribe ssubscribe unsubscribe punsubscribe sunsubscribe monitor pubsub config flushall \
        flushdb debug shutdown acl module replicaof slaveof script function cluster eval evalsha \
        eval_ro evalsha_ro fcall fcall_ro keys randomkey dbsize migrate restore restore-asking \
        move swapdb info command latency slowlog save bgsave bgrewriteaof sync psync replconf \
        failover role lastsave pfdebug pfselftest lolwut sentinel commandlog";
    for name in names.split(' ') {
        let upper = name.to_uppercase();
        match admit(&[upper.as_bytes(), b"list", b"a", b"b"]) {
            Err(Refusal::Denied(text)) => {
                assert!(text.starts_with(&format!("{upper} is refused: it")), "{text}")
            }
            other => panic!("{name}: {other:?}"),
        }
        let named =
            RulesSpec { commands: named(&[name]), key_prefix: "", read_only: false, key_bytes_max: 1 };
        assert!(matches!(Rules::new(named).unwrap_err()[..], [RuleError::RefusedCommand { .. }]), "{name}");
    }
}

#[test]
fn only_granted_commands_pass() {
    let rules = rules(named(&["get", "XGROUP", "xinfo|stream"]), "app:", false);
    assert!(admit_with(&rules, &[b"Get", b"k"]).is_ok());
    assert!(admit_with(&rules, &[b"XGROUP", b"DESTROY", b"k", b"g"]).is_ok());
    assert!(admit_with(&rules, &[b"XINFO", b"STREAM", b"k"]).is_ok());
    assert!(matches!(admit_with(&rules, &[b"XINFO", b"GROUPS", b"k"]), Err(Refusal::Denied(_))));
    assert!(matches!(admit_with(&rules, &[b"SET", b"k", b"v"]), Err(Refusal::Denied(_))));
    let none = self::rules(named(&[]), "", false);
    assert!(matches!(admit_with(&none, &[b"GET", b"k"]), Err(Refusal::Denied(_))));
}

#[test]
fn a_read_only_grant_refuses_whatever_writes_or_publishes() {
    let rules = rules(CommandSet::AllSafe, "app:", true);
    for command in table::all().iter().filter(|command| command.grantable() && command.writes) {
        let mut line: Vec<&[u8]> = command.name.split('|').map(str::as_bytes).collect();
        line.resize(usize::from(command.arity.unsigned_abs()).max(2), b"1");
        assert!(matches!(admit_with(&rules, &line), Err(Refusal::Denied(_))), "{}", command.name);
    }
    assert!(matches!(admit_with(&rules, &[b"PUBLISH", b"c", b"m"]), Err(Refusal::Denied(_))));
    assert!(admit_with(&rules, &[b"GET", b"k"]).is_ok());
    match admit_with(&rules, &[b"SORT", b"k"]) {
        Err(Refusal::Denied(text)) => assert!(text.ends_with("use SORT_RO"), "{text}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_channel_gets_the_prefix() {
    assert_eq!(admit(&[b"PUBLISH", b"c", b"m"]), Ok(encoded(&[b"PUBLISH", b"app:c", b"m"])));
    assert_eq!(admit(&[b"SPUBLISH", b"c", b"m"]), Ok(encoded(&[b"SPUBLISH", b"app:c", b"m"])));
}

#[test]
fn scan_sees_only_names_that_start_with_the_prefix() {
    assert_eq!(admit(&[b"SCAN", b"0"]), Ok(encoded(&[b"SCAN", b"0", b"match", b"app:*"])));
    assert_eq!(
        admit(&[b"SCAN", b"0", b"COUNT", b"5", b"Match", b"a*", b"TYPE", b"hash"]),
        Ok(encoded(&[b"SCAN", b"0", b"COUNT", b"5", b"Match", b"app:a*", b"TYPE", b"hash"]))
    );
    let odd = rules(CommandSet::AllSafe, "a*[b]?\\^-:", false);
    assert_eq!(
        admit_with(&odd, &[b"SCAN", b"0", b"MATCH", b"]x*"]),
        Ok(encoded(&[b"SCAN", b"0", b"MATCH", b"a\\*\\[b\\]\\?\\\\\\^\\-:]x*"]))
    );
    let none = rules(CommandSet::AllSafe, "", false);
    assert_eq!(admit_with(&none, &[b"SCAN", b"0"]), Ok(encoded(&[b"SCAN", b"0"])));
}

#[test]
fn blocking_and_watching_need_a_lease() {
    let rules = rules(CommandSet::AllSafe, "app:", false);
    let leased = |line: &[&[u8]]| rules.admit(line, &mut Vec::new()).unwrap().leased;
    assert!(leased(&[b"BLPOP", b"q", b"1"]));
    assert!(leased(&[b"WATCH", b"k"]));
    assert!(leased(&[b"UNWATCH"]));
    assert!(leased(&[b"WAIT", b"1", b"100"]));
    assert!(leased(&[b"XREAD", b"BLOCK", b"5", b"STREAMS", b"s", b"$"]));
    assert!(!leased(&[b"XREAD", b"STREAMS", b"s", b"0"]));
    assert!(!leased(&[b"LPOP", b"q"]));
}

#[test]
fn a_script_gets_its_keys_prefixed_and_its_arguments_as_they_are() {
    let digest = "0123456789abcdef0123456789ABCDEF01234567";
    let rules = rules(CommandSet::Named(Vec::new()), "app:", false);
    let mut out = Vec::new();
    let admitted = rules.admit_script(digest, &[b"a", b""], &[b"x", b"app:y"], &mut out).unwrap();
    assert!(admitted.writes && !admitted.leased);
    let line: [&[u8]; 7] = [b"evalsha", digest.as_bytes(), b"2", b"app:a", b"app:", b"x", b"app:y"];
    assert_eq!(out, encoded(&line));
}

#[test]
fn a_script_under_a_read_only_grant_cannot_write() {
    let digest = "0".repeat(40);
    let mut out = Vec::new();
    let admitted = rules(named(&[]), "", true).admit_script(&digest, &[], &[], &mut out).unwrap();
    assert!(!admitted.writes);
    assert_eq!(out, encoded(&[b"evalsha_ro", digest.as_bytes(), b"0"]));
}

#[test]
fn a_script_with_a_bad_digest_or_a_long_key_is_invalid() {
    let rules = rules(CommandSet::AllSafe, "app:", false);
    let mut out = Vec::new();
    let digest = "0".repeat(40);
    for digest in ["", "0123", &"g".repeat(40), &"0".repeat(41)] {
        assert!(matches!(rules.admit_script(digest, &[], &[], &mut out), Err(Refusal::Invalid(_))));
    }
    assert!(matches!(
        rules.admit_script(&digest, &[b"k", &[b'k'; 17]], &[], &mut out),
        Err(Refusal::Invalid(_))
    ));
    assert!(out.is_empty());
}

#[test]
fn a_refusal_never_shows_what_the_guest_sent() {
    let canary: &[u8] = b"CANARY";
    let rules = rules(named(&["get", "sort", "scan", "zunion", "xread", "blpop", "xgroup"]), "PREFIX:", true);
    for line in [
        &[canary][..],
        &[b"GET", canary, canary],
        &[b"SET", canary, canary],
        &[b"XGROUP", canary, canary],
        &[b"SCAN", canary],
        &[b"SCAN", b"0", canary],
        &[b"ZUNION", canary, canary],
        &[b"XREAD", canary, canary, canary],
        &[b"EVAL", canary, canary],
    ] {
        let refusal = rules.admit(line, &mut Vec::new()).unwrap_err();
        let text = format!("{refusal} {refusal:?}");
        assert!(!text.to_uppercase().contains("CANARY") && !text.contains("PREFIX"), "{text}");
    }
}

#[test]
fn a_bad_grant_is_told_everything_that_is_wrong_with_it() {
    let spec = RulesSpec {
        commands: named(&[
            "gett",
            "get",
            "flushall",
            "supercalifragilistic",
            "Zinter-Store",
            "xgroup|destory",
        ]),
        key_prefix: "a\nb",
        read_only: false,
        key_bytes_max: 0,
    };
    let errors = Rules::new(spec).unwrap_err();
    let texts: Vec<_> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(errors.len(), 7, "{texts:?}");
    assert!(texts[2].contains("\"gett\"") && texts[2].contains("did you mean"), "{texts:?}");
    assert!(texts[3].starts_with("\"flushall\" cannot be granted: it "), "{texts:?}");
    assert!(!texts[4].contains("did you mean"), "{texts:?}");
    assert!(texts[5].contains("\"zinterstore\""), "{texts:?}");
    assert!(texts[6].contains("\"xgroup|destroy\""), "{texts:?}");
}
