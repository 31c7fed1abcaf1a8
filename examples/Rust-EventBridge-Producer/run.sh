#!/usr/bin/env bash
# A Rust producer, EventBridge, a Python consumer. Without arguments it says what it can do.
title="A Rust producer, EventBridge, a Python consumer"
service=eventbridge
rust=producer
package=rust-eventbridge-producer
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
