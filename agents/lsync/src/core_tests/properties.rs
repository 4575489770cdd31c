//! What holds for whatever the disk, the cluster and the other nodes say.

use super::*;
use proptest::prelude::*;

fn any_generation() -> impl Strategy<Value = Generation> {
    (0..6u64, 0..3u64, "[abc]").prop_map(|(number, id, origin)| Generation { number, id, origin })
}

fn any_record() -> impl Strategy<Value = Record> {
    let upon = proptest::option::of((0..6u64, 0..3u64, 0..5u64).prop_map(|(number, id, change)| Reach {
        number,
        id,
        change,
    }));
    let set = proptest::collection::btree_set("[abc]", 0..4);
    (any_generation(), upon, 0..5u64, 0..5u64, any::<bool>(), set).prop_map(
        |(generation, upon, change, shared, filled, in_sync)| Record {
            generation,
            upon,
            change,
            shared: shared.min(change),
            dataset: 7,
            filled,
            in_sync,
        },
    )
}

fn any_own() -> impl Strategy<Value = Own> {
    let settled = (proptest::option::of(any_record()), 0..4usize).prop_map(|(latest, standing)| {
        let standing = if latest.is_none() {
            Standing::Behind
        } else {
            [Standing::Behind, Standing::InSync, LEADS, OPENED][standing].clone()
        };
        Own { latest, standing }
    });
    (settled, proptest::option::weighted(0.2, (proptest::option::of(any_record()), any_record()))).prop_map(
        |(own, under_way)| match under_way {
            Some((replaces, mut record)) => {
                let known = own.latest.as_ref().map_or(0, |latest| latest.generation.number);
                record.generation.number += known + 1;
                opening(&own, replaces.as_ref(), &record)
            }
            None => own,
        },
    )
}

fn any_view() -> impl Strategy<Value = View> {
    let said = proptest::option::of((0..6u64, 0..3u64, 0..5u64, any::<bool>()).prop_map(
        |(number, id, change, filled)| Said {
            number,
            id,
            change,
            tree: if filled { Tree::Filled } else { Tree::Empty },
        },
    ));
    (
        any::<bool>(),
        proptest::option::of(any_record()),
        said.clone(),
        said,
        any::<bool>(),
        proptest::option::of(0..6u64),
    )
        .prop_map(|(quorum, record, b, c, filled, adopt)| View {
            me: "a".to_owned(),
            quorum,
            record,
            others: vec![("b".to_owned(), b), ("c".to_owned(), c)],
            tree: if filled { Tree::Filled } else { Tree::Empty },
            initial_source: None,
            adopt,
        })
}

proptest! {
    #[test]
    fn a_record_comes_back_from_its_text(record in any_record(), id: u64, dataset: u64, origin in "[a-z0-9._-]{1,20}") {
        let generation = Generation { id, origin, ..record.generation.clone() };
        let record = Record { generation, dataset, ..record };
        prop_assert_eq!(record.to_string().parse(), Ok(record));
    }

    #[test]
    fn no_text_is_taken_for_another_record(text in "\\PC{0,60}", at in 0..200usize, with in "\\PC") {
        prop_assert!(text.parse::<Record>().is_err());
        let mut changed = record(&["a", "b"]).to_string();
        if at < changed.len() {
            changed.replace_range(at..=at, &with);
        }
        if let Ok(parsed) = changed.parse::<Record>() {
            prop_assert_eq!(parsed.to_string(), changed);
        }
    }

    #[test]
    fn what_is_on_disk_comes_back(own in any_own()) {
        let text = serde_json::to_string(&own).unwrap();
        prop_assert_eq!(serde_json::from_str::<Own>(&text).unwrap(), own);
    }

    /// What is open is never given up for an older generation, nor for an older change, and nothing that the cluster says lets
    /// a node hold data that it does not have.
    #[test]
    fn learning_never_goes_back(own in any_own(), records in proptest::collection::vec(any_record(), 1..6)) {
        let mut own = own;
        for record in &records {
            let (before, after) = (own.said(Tree::Empty), learn(&own, Some(record)));
            prop_assert!(after.said(Tree::Empty).number >= before.number);
            let same = own.generation() == after.generation();
            if same && !matches!(own.standing, Standing::Opening { .. }) {
                let change = |own: &Own| own.latest.as_ref().map(|record| record.change);
                prop_assert!(change(&after) >= change(&own));
                prop_assert_eq!(&after.standing, &own.standing);
            } else if !same && !matches!(own.standing, Standing::Opening { .. }) {
                prop_assert_eq!(&after.standing, &Standing::Behind);
            }
            prop_assert_eq!(learn(&after, Some(record)), after.clone(), "once is enough");
            own = after;
        }
    }

    /// A generation is opened with quorum, above all that was heard and known, and for its own node alone.
    #[test]
    fn what_is_opened_is_above_all(own in any_own(), view in any_view()) {
        let Ok(opened) = promote(&own, &view, 77, 88) else { return Ok(()) };
        prop_assert!(view.quorum);
        let open_here = own.said(Tree::Empty).number;
        prop_assert!(opened.generation.number > open_here.max(view.record.as_ref().map_or(0, |it| it.generation.number)));
        let heard = view.others.iter().flat_map(|(_, said)| said).map(|it| it.number).max().unwrap_or(0);
        prop_assert!(opened.generation.number > heard);
        prop_assert_eq!((opened.change, opened.shared), (0, 0));
        prop_assert_eq!(&opened.in_sync, &set(&["a"]));
        prop_assert!(opened.filled || view.tree == Tree::Empty);
        let opening = opening(&own, view.record.as_ref(), &opened);
        prop_assert!(!opening.is_source());
        prop_assert_eq!(crate::core::opened(&opening, Some(&opened)), Own { latest: Some(opened), standing: OPENED });
    }

    /// Without quorum nothing in the cluster is changed, and nothing acknowledged.
    #[test]
    fn without_quorum_nothing(own in any_own(), view in any_view()) {
        let view = View { quorum: false, ..view };
        prop_assert_eq!(promote(&own, &view, 1, 1), Err(Refusal::NoQuorum));
        prop_assert_eq!((joined(&own, &view, "b"), left(&own, &view, "b"), restored(&own, &view)), (None, None, None));
        let have = ["b", "c"].map(|name| (name.to_owned(), said(9, 0, 9)));
        prop_assert!(!acknowledged(&own, &view, &have, 0));
    }

    /// Nobody takes a push of another generation than the one that it knows.
    #[test]
    fn only_the_known_generation_pushes(own in any_own(), pushed in any_generation()) {
        if own.accepts(&pushed) {
            prop_assert_eq!(own.generation(), Some(&pushed));
            prop_assert!(!own.is_source());
        } else {
            prop_assert_eq!(completed(&own, &pushed), own);
        }
    }
}
