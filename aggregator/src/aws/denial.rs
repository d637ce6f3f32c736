//! What a refusal of Amazon's services means, and what to do about it.
//!
//! Refusals come from four places: the check of the signature, IAM, the domain's or collection's own policy, and
//! the security plugin behind them. Each has words of its own, and another cure.

use super::Service;

/// What to do about a request that `service` has denied with these words.
pub(crate) fn explain(service: &Service, reason: &str) -> &'static str {
    let has = |words: &str| reason.contains(words);
    if has("backend_roles") || has("no permissions for [") {
        // The security plugin knows who we are, and has no role for us.
        return "fine-grained access control lacks a mapping: map the ARN of the role as a backend role to a \
                role with the cluster permission `indices:data/write/bulk` and `crud`, `create_index` \
                (and `indices:admin/index_template/*` for templates) on these indices";
    }
    if has("security token included in the request is expired") || has("ExpiredToken") {
        return "the credentials have run out and nobody gives new ones: see the errors about credentials";
    }
    if has("security token included in the request is invalid") || has("UnrecognizedClient") {
        return "the access key is not known there: check the keys, and that account and region are right";
    }
    if has("signature we calculated does not match") {
        return "the secret key does not belong to the access key, or a proxy in between changes requests";
    }
    if has("Signature expired") || has("Signature not yet current") {
        return "this machine's clock is wrong";
    }
    if has("Credential should be scoped") {
        return "`region` or `service_name` is not that of the host";
    }
    if has("not authorized to perform") {
        return match service {
            Service::Serverless => {
                "the role's IAM policy lacks `aoss:APIAccessAll` on the collection"
            }
            Service::Ingestion => "the role's IAM policy lacks `osis:Ingest` on the pipeline",
            Service::Domain | Service::Other(_) => {
                "the access policy of the domain or the role's IAM policy lacks `es:ESHttpPost`, \
                 `es:ESHttpPut`, `es:ESHttpGet` and `es:ESHttpHead` on the domain's ARN followed by `/*`"
            }
        };
    }
    match service {
        Service::Serverless => {
            "check that a data access policy of the collection gives the role `aoss:WriteDocument`, \
             `aoss:CreateIndex`, `aoss:UpdateIndex` and `aoss:DescribeIndex` on its indices, that the \
             role's IAM policy has `aoss:APIAccessAll`, and that the network policy lets us in"
        }
        Service::Ingestion => {
            "check that the role's IAM policy has `osis:Ingest` on the pipeline, and that the path is the \
             pipeline's"
        }
        Service::Domain | Service::Other(_) => {
            "check the credentials, `region` and `service_name`, the access policy of the domain \
             (`es:ESHttp*` for the role), and the mapping of the role in fine-grained access control"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_has_its_cure() {
        let domain = Service::Domain;
        for (service, reason, words) in [
            (
                &domain,
                "no permissions for [indices:data/write/bulk] and User [name=arn:aws:iam::1:role/logs, \
                 backend_roles=[arn:aws:iam::1:role/logs], requestedTenant=null]",
                "backend role",
            ),
            (
                &domain,
                "User: arn:aws:sts::1:assumed-role/logs/i-1 is not authorized to perform: \
                 es:ESHttpPost with an explicit deny",
                "es:ESHttpPost",
            ),
            (
                &Service::Serverless,
                "User: x is not authorized to perform: aoss:APIAccessAll",
                "aoss:APIAccessAll",
            ),
            (&Service::Serverless, "403 Forbidden", "data access policy"),
            (&Service::Ingestion, "Forbidden", "osis:Ingest"),
            (
                &domain,
                "The security token included in the request is expired",
                "run out",
            ),
            (
                &domain,
                "The security token included in the request is invalid.",
                "not known",
            ),
            (
                &domain,
                "The request signature we calculated does not match the signature you provided.",
                "secret key",
            ),
            (&domain, "Signature expired: 20261125T000000Z", "clock"),
            (
                &domain,
                "Credential should be scoped to a valid region, not 'us-east-1'.",
                "`region`",
            ),
            (&domain, "", "fine-grained"),
        ] {
            let cure = explain(service, reason);
            assert!(cure.contains(words), "{reason}: {cure}");
        }
    }
}
