#!/usr/bin/env bash
# A Rust producer, SNS, a Python consumer. Without arguments it says what it can do.
title="A Rust producer, SNS, a Python consumer"
service=sns
rust=producer
package=rust-sns-producer
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
