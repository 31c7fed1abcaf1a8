#!/usr/bin/env bash
# A Python producer, EventBridge, a Rust consumer. Without arguments it says what it can do.
title="A Python producer, EventBridge, a Rust consumer"
service=eventbridge
rust=consumer
package=eventbridge-lambda
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
