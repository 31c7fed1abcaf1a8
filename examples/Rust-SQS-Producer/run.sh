#!/usr/bin/env bash
# A Rust producer, SQS, a Python consumer. Without arguments it says what it can do.
title="A Rust producer, SQS, a Python consumer"
service=sqs
rust=producer
package=rust-sqs-producer
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
