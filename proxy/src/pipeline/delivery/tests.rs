//! What is told of what several upstreams said.

use super::*;
use http::StatusCode;
use std::time::Duration;

/// What an upstream can say, one of each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    Took,
    Partly,
    Warned,
    Refused,
    TooLarge,
    Busy(u64),
    Unreachable,
}

use Said::*;

impl Said {
    const ALL: [Said; 8] = [Took, Partly, Warned, Refused, TooLarge, Busy(3), Busy(30), Unreachable];

    fn result(self) -> Result<Option<PartialSuccess>, Refusal> {
        let partial =
            |rejected, message: &str| Ok(Some(PartialSuccess { rejected, message: message.into() }));
        match self {
            Took => Ok(None),
            Partly => partial(2, "two are too old"),
            Warned => partial(0, "take care"),
            Refused => Err(Refusal::Rejected("no labels".to_owned())),
            TooLarge => Err(Refusal::TooLargeForUpstream(None)),
            Busy(seconds) => Err(Refusal::UpstreamBusy {
                status: StatusCode::TOO_MANY_REQUESTS,
                retry_after: Some(Duration::from_secs(seconds)),
                message: String::new(),
            }),
            Unreachable => Err(Refusal::UpstreamUnreachable), // 5 s
        }
    }

    fn is_passing(self) -> bool {
        matches!(self, Busy(_) | Unreachable)
    }

    /// Of ten records.
    fn rejected(self) -> u64 {
        match self {
            Took | Warned => 0,
            Partly => 2,
            _ => 10,
        }
    }
}

fn told(said: &[Said]) -> Result<Option<PartialSuccess>, Refusal> {
    let names = ["own", "archive", "loki"];
    let told =
        said.iter().zip(names).map(|(said, upstream)| Told { upstream, records: 10, said: said.result() });
    merge(told.collect())
}

/// Every two and every three of them.
fn combinations() -> Vec<Vec<Said>> {
    let two = Said::ALL.iter().flat_map(|one| Said::ALL.iter().map(|other| vec![*one, *other]));
    let two: Vec<Vec<Said>> = two.collect();
    let three = two.iter().flat_map(|two| Said::ALL.iter().map(|third| [&two[..], &[*third]].concat()));
    two.iter().cloned().chain(three).collect()
}

#[test]
fn every_combination_is_told_as_the_table_says() {
    for said in combinations() {
        let told = told(&said);
        let wait = said.iter().filter(|said| said.is_passing()).map(|said| said.result().unwrap_err());
        if let Some(longest) = wait.map(|refusal| refusal.retry_after()).max() {
            let refusal = told.unwrap_err();
            assert!(refusal.is_passing(), "{said:?}: the sender has to come back");
            assert_eq!(refusal.retry_after(), longest, "{said:?}");
            continue;
        }
        if said.iter().all(|said| matches!(said, Refused | TooLarge)) {
            assert_eq!(told, Err(said[0].result().unwrap_err()), "{said:?}: all refuse for good");
            continue;
        }
        let partial = told.unwrap();
        if said.iter().all(|said| *said == Took) {
            assert_eq!(partial, None);
            continue;
        }
        let partial = partial.unwrap();
        assert_eq!(partial.rejected, said.iter().map(|said| said.rejected()).sum::<u64>(), "{said:?}");
        for (said, name) in said.iter().zip(["own", "archive", "loki"]) {
            assert_eq!(partial.message.contains(&format!("{name}: ")), *said != Took, "{said:?} {partial:?}");
        }
    }
}

#[test]
fn the_words_name_who_refused() {
    let partial = told(&[Took, Refused, Partly]).unwrap().unwrap();
    assert_eq!(partial.rejected, 12);
    assert_eq!(
        partial.message,
        "archive: the destination refused the batch: no labels; loki: two are too old"
    );
}

#[test]
fn of_equal_waits_the_first_is_told() {
    let first = Refusal::UpstreamBusy {
        status: StatusCode::SERVICE_UNAVAILABLE,
        retry_after: Some(Duration::from_secs(5)),
        message: "the first".to_owned(),
    };
    let told = vec![
        Told { upstream: "own", records: 1, said: Err(first.clone()) },
        Told { upstream: "archive", records: 1, said: Err(Refusal::UpstreamUnreachable) },
    ];
    assert_eq!(merge(told), Err(first));
}

#[test]
fn an_upstream_that_rejects_more_than_it_was_sent_is_not_believed() {
    let said = Ok(Some(PartialSuccess { rejected: 99, message: "all of it".to_owned() }));
    let told = vec![
        Told { upstream: "own", records: 4, said: Ok(None) },
        Told { upstream: "loki", records: 3, said },
    ];
    assert_eq!(merge(told).unwrap().unwrap().rejected, 3);
}
