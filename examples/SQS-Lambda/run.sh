#!/usr/bin/env bash
# A Python producer, SQS, a Rust consumer. Without arguments it says what it can do.
title="A Python producer, SQS, a Rust consumer"
service=sqs
rust=consumer
package=sqs-lambda
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
