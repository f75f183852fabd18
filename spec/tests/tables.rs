//! The tables agree with each other, and rows that make no sense are refused where they stand.

use std::{collections::HashSet, fs};

use amqp_spec::{Kind, Method, Role, Sender, Severity, Tables, Usage, Wire, workspace};

fn text(file: &str) -> String {
    fs::read_to_string(workspace().join("spec").join(file)).unwrap()
}

fn tables() -> Tables {
    Tables::load(&workspace().join("spec")).unwrap()
}

fn all_methods(tables: &Tables) -> impl Iterator<Item = (&str, &Method)> {
    tables.classes.iter().flat_map(|class| class.methods.iter().map(|method| (class.name.as_str(), method)))
}

/// The complaint about the tables after `old` became `new` in one of them.
fn refusal(file: &str, old: &str, new: &str) -> String {
    let change = |name: &str| {
        let whole = text(name);
        if name != file {
            return whole;
        }
        assert_eq!(whole.matches(old).count(), 1, "{old:?} is not unique in {name}");
        whole.replacen(old, new, 1)
    };
    let (methods, fields, constants) = (change("methods.tsv"), change("fields.tsv"), change("constants.tsv"));
    Tables::parse(&methods, &fields, &constants).unwrap_err().to_string()
}

/// The number of the line that starts like this.
fn line_of(file: &str, start: &str) -> usize {
    text(file).lines().position(|line| line.starts_with(start)).unwrap() + 1
}

#[test]
fn all_of_the_protocol_is_there() {
    let tables = tables();
    assert_eq!(all_methods(&tables).count(), 66);
    assert_eq!(tables.properties.len(), 14);
    assert_eq!(tables.codes.len(), 19);
}

#[test]
fn every_reply_exists_and_comes_from_the_other_peer() {
    let tables = tables();
    for class in &tables.classes {
        for method in &class.methods {
            let Kind::Sync(replies) = &method.kind else { continue };
            assert!(!replies.is_empty(), "{}.{} has no reply", class.name, method.name);
            for name in replies {
                let reply = class.methods.iter().find(|reply| reply.name == *name).unwrap();
                assert_eq!(reply.kind, Kind::Reply);
                assert!(reply.sender == Sender::Both || reply.sender != method.sender);
            }
        }
    }
}

#[test]
fn numbers_and_names_are_unique() {
    let tables = tables();
    let numbered: HashSet<_> = tables.classes.iter().map(|class| class.id).collect();
    assert_eq!(numbered.len(), tables.classes.len());
    for class in &tables.classes {
        let ids: HashSet<_> = class.methods.iter().map(|method| method.id).collect();
        let names: HashSet<_> = class.methods.iter().map(|method| &method.name).collect();
        assert_eq!((ids.len(), names.len()), (class.methods.len(), class.methods.len()), "in class {}", class.name);
    }
    let codes: HashSet<_> = tables.codes.iter().map(|code| code.value).collect();
    assert_eq!(codes.len(), tables.codes.len());
}

#[test]
fn soft_codes_are_the_ones_that_end_a_channel() {
    let soft = |severity: Severity| severity == Severity::Soft;
    let values: Vec<_> = tables().codes.iter().filter(|code| soft(code.severity)).map(|code| code.value).collect();
    assert_eq!(values, [311, 312, 313, 403, 404, 405, 406]);
}

#[test]
fn only_messages_have_content() {
    let tables = tables();
    let with_content = all_methods(&tables).filter(|(_, method)| method.content);
    let names: Vec<_> = with_content.map(|(class, method)| format!("{class}.{}", method.name)).collect();
    assert_eq!(names, ["basic.publish", "basic.return", "basic.deliver", "basic.get-ok"]);
}

#[test]
fn bits_of_a_method_fit_one_octet() {
    for (class, method) in all_methods(&tables()) {
        let bits = method.fields.iter().filter(|field| field.wire == Wire::Bit).count();
        let runs = method.fields.chunk_by(|left, right| left.wire == right.wire);
        let groups = runs.filter(|run| run.iter().any(|field| field.wire == Wire::Bit)).count();
        assert!(bits <= 8 && groups <= 1, "{class}.{}", method.name);
    }
}

#[test]
fn the_core_keeps_its_own_methods_to_itself() {
    for (class, method) in all_methods(&tables()) {
        let own = matches!(class, "connection" | "access") || (class == "channel" && method.name != "flow");
        if own || method.kind == Kind::Reply || method.sender == Sender::Server {
            assert_eq!(method.usage, Usage::Internal, "{class}.{}", method.name);
        }
    }
}

#[test]
fn durable_is_the_default() {
    for (class, method) in all_methods(&tables()) {
        for field in method.fields.iter().filter(|field| field.name == "durable") {
            assert!(field.default_true && field.role == Role::Set, "{class}.{}", method.name);
        }
    }
}

#[test]
fn a_method_is_found_by_the_name_other_clients_use() {
    for (class, method) in all_methods(&tables()) {
        let usual = format!("{class}_{}", method.name).replace('-', "_");
        assert!(method.aliases.contains(&usual), "{class}.{} has no alias {usual}", method.name);
    }
}

#[test]
fn a_malformed_row_is_refused_with_its_line() {
    let line = line_of("methods.tsv", "tx\t90\tselect\t");
    let refused = refusal("methods.tsv", "tx\t90\tselect\t10", "tx\t90\tselect\tten");
    assert_eq!(refused, format!("methods.tsv:{line}: \"ten\" is not a number in range"));

    let line = line_of("fields.tsv", "confirm\tselect\tnowait\t");
    let refused = refusal("fields.tsv", "confirm\tselect\tnowait\tbit\t", "confirm\tselect\tnowait\tbit\tset\t");
    assert_eq!(refused, format!("fields.tsv:{line}: 10 columns instead of 9"));

    let line = line_of("constants.tsv", "not-found\t");
    let refused = refusal("constants.tsv", "not-found\t404\tsoft", "not-found\t404\twarm");
    assert_eq!(refused, format!("constants.tsv:{line}: \"warm\" is none of soft, hard, none"));
}

#[test]
fn a_header_line_of_other_columns_is_refused() {
    let refused = refusal("constants.tsv", "# name\tvalue", "# value\tname");
    assert!(refused.starts_with("constants.tsv:1: the first line must be"), "{refused}");
}

#[test]
fn rows_that_contradict_each_other_are_refused() {
    let cases = [
        ("methods.tsv", "select\t10\tclient\tsync\tselect-ok\t-\tcall\ttx_select\t", "no_reply"),
        ("methods.tsv", "commit-ok\t21\tserver\treply", "commit-ok\t20\tserver\treply"),
        ("methods.tsv", "commit-ok\t21\tserver\treply", "commit-ok\t21\tclient\treply"),
        ("methods.tsv", "rollback\t30\tclient\tsync\trollback-ok", "rollback\t30\tclient\tsync\trolled-back"),
        (
            "methods.tsv",
            "recover-async\t100\tclient\tasync\t-\t-\tinternal",
            "recover-async\t100\tclient\tasync\t-\t-\tcall",
        ),
        ("fields.tsv", "qos\tglobal\tbit\tset\t-\tglobal", "qos\tglobal\tbit\tset\t-\t-"),
        ("fields.tsv", "qos\tglobal\tbit\tset\t-\tglobal", "qos\tglobal\tbit\tset\t-\tencode"),
        ("fields.tsv", "qos\tglobal\tbit", "qos\tprefetch-count\tbit"),
        ("fields.tsv", "qos\tprefetch-size\tlong\tplain\t-", "qos\tprefetch-size\tlong\tplain\ttrue"),
        ("fields.tsv", "get\tticket\tshort\treserved", "got\tticket\tshort\treserved"),
        ("fields.tsv", "delivery-mode\toctet\talso", "priority\toctet\talso"),
        ("constants.tsv", "not-found\t404", "not-found\t403"),
    ];
    for (file, old, new) in cases {
        let new = if new == "no_reply" { old.replace("select-ok", "-") } else { new.to_owned() };
        let refused = refusal(file, old, &new);
        assert!(refused.starts_with(file) && !refused.starts_with(&format!("{file}:0")), "{new:?}: {refused}");
    }
}
