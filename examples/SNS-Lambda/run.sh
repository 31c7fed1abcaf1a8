#!/usr/bin/env bash
# A Python producer, SNS, a Rust consumer. Without arguments it says what it can do.
title="A Python producer, SNS, a Rust consumer"
service=sns
rust=consumer
package=sns-lambda
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
