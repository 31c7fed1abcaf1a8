# What run.sh of every pair of a Rust and a Python function does. It is sourced, and says before: `title`, `service`
# (sqs, sns or eventbridge), `rust` (which of producer and consumer is the Rust function) and `package` (its crate).
# Everything on AWS is found by its name again, so nothing is written down between two commands.

set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[1]}")" && pwd)
root=$(cd "$here/../.." && pwd)
out=$root/target/pairs/$package

name=$package
role_arn= region=${AWS_REGION:-${AWS_DEFAULT_REGION:-us-east-1}} python_layer= secret= site=${DD_SITE:-datadoghq.com}
arch=$(uname -m | sed 's/aarch64/arm64/') debug= binaries= event='{"id": 17}' keep=
if [ "$rust" = producer ]; then python=consumer; else python=producer; fi

usage() {
    cat <<EOF
$title

usage: ./run.sh COMMAND [FLAGS]

  build      build the Rust function and the extension, and pack them and the Python function
  deploy     make the functions, the layer, and what is between them, on AWS
  update     bring what was built anew to the functions
  invoke     invoke the producer
  destroy    remove all that deploy made
  local      run the pair on this machine, and print the trace; needs no AWS account

  --role-arn ARN        deploy: the role of both functions
  --api-key-secret ARN  deploy: the secret that holds the Datadog API key [the key in DD_API_KEY]
  --site SITE           deploy: the Datadog site [$site]
  --python-layer ARN    deploy: Datadog's layer for Python [the one that Datadog publishes in the region]
  --name NAME           what all names on AWS begin with [$name]
  --region REGION       the region [$region]
  --arch ARCH           x86_64 or arm64 [$arch]
  --event JSON          invoke, local: what the producer is given [$event]
  --debug               build: quicker to build, larger, for this machine's own C library
  --binaries FOLDER     build, local: take the programs from this folder instead of building them
  --keep                local: leave it running, with a page that shows it, until Ctrl-C

deploy, update, invoke and destroy use the AWS command line, with its settings. AWS_ENDPOINT_URL sends them elsewhere.
EOF
}

fail() {
    echo "error: $*" >&2
    exit 1
}

say() {
    echo "$(basename "$here"): $*" >&2
}

# The AWS command line. SQS does not follow AWS_ENDPOINT_URL in all of its versions.
on_aws() {
    aws ${AWS_ENDPOINT_URL:+--endpoint-url "$AWS_ENDPOINT_URL"} --region "$region" --output text "$@"
}

# ---- build

# All of it is made beside what was built before and takes its place at the end: whoever deploys meanwhile, or after a build
# that was cut off, has whole files.
build() {
    local built=$out
    out=$out.new.$$
    trap "rm -rf '$out'" EXIT
    rm -rf "$out" && mkdir -p "$out/layer/extensions" "$out/rust"
    if [ -z "$binaries" ] && [ -n "$debug" ]; then
        cargo build --manifest-path "$root/Cargo.toml" --package extension --package "$package"
        binaries=$root/target/debug
    fi
    if [ -n "$binaries" ]; then
        slim "$binaries/datadog-agent" "$out/layer/extensions/datadog-agent"
        slim "$binaries/$package" "$out/rust/bootstrap"
        pack "$out/layer.zip" "$out/layer" extensions
    else
        (cd "$root" && cargo xtask layer --arch "$arch")
        cp "$root/target/layer/datadog-extension-$arch.zip" "$out/layer.zip"
        is_whole "$out/layer.zip"
        static
    fi
    pack "$out/$rust.zip" "$out/rust" bootstrap
    pack "$out/$python.zip" "$here" app.py
    rm -rf "$built" && mv "$out" "$built"
    out=$built
    say "built into $out"
}

# A program that runs on any Linux: with musl where Rust has it, else with this machine's C library in it. A panic of
# the handler is to be an error of the invocation and not the end of the process.
static() {
    local target=${arch/arm64/aarch64}-unknown-linux-musl
    [ -d "$(rustc --print sysroot)/lib/rustlib/$target/lib" ] || target=${target/musl/gnu}
    RUSTFLAGS="-C target-feature=+crt-static" cargo build --manifest-path "$root/Cargo.toml" --package "$package" \
        --target "$target" --profile function --config 'profile.function.inherits="release"' \
        --config 'profile.function.panic="unwind"'
    cp "$root/target/$target/function/$package" "$out/rust/bootstrap"
}

# Without what is there for debuggers.
slim() {
    [ -s "$1" ] || fail "there is no $1, or it is empty: is it built?"
    strip -o "$2" "$1" 2>/dev/null || cp "$1" "$2"
    [ -s "$2" ] || fail "$2 is empty"
}

# A zip of files of a folder, which stay executable.
pack() {
    (cd "$2" && "${REAL_PYTHON:-python3}" -m zipfile -c "$1" "$3")
    is_whole "$1"
}

# No zip goes on that cannot be unpacked.
is_whole() {
    [ "$("${REAL_PYTHON:-python3}" -m zipfile -t "$1" 2>/dev/null)" = "Done testing" ] || fail "$1 is not a whole zip"
}

# ---- deploy

deploy() {
    [ -n "$role_arn" ] || fail "--role-arn is missing: the role that the functions run with"
    [ -n "$secret" ] || [ -n "${DD_API_KEY:-}" ] || fail "neither --api-key-secret nor DD_API_KEY is given"
    is_built
    # Its version is the minor version of the library.
    : "${python_layer:=arn:aws:lambda:$region:464622532012:layer:Datadog-Python313$([ "$arch" = x86_64 ] || echo -ARM):130}"
    local layer
    layer=$(publish_layer)
    "make_$service"
    function_of producer "$layer"
    function_of consumer "$layer"
    "connect_$service"
    say "deployed; try: ./run.sh invoke"
}

is_built() {
    local each
    for each in producer consumer layer; do
        [ -s "$out/$each.zip" ] || fail "there is no $out/$each.zip: ./run.sh build"
        is_whole "$out/$each.zip"
    done
}

publish_layer() {
    on_aws lambda publish-layer-version --layer-name "$name-extension" --compatible-architectures "$arch" \
        --zip-file "fileb://$out/layer.zip" --query LayerVersionArn
}

# Which layers a function has.
layers_of() {
    if [ "$1" = "$rust" ]; then echo "$2"; else echo "$python_layer $2"; fi
}

function_of() {
    local runtime=python3.13 handler=datadog_lambda.handler.handler
    if [ "$1" = "$rust" ]; then runtime=provided.al2023 handler=bootstrap; fi
    # shellcheck disable=SC2046 # one argument for each layer
    variables_of "$1" | on_aws lambda create-function --function-name "$name-$1" --role "$role_arn" --runtime $runtime \
        --handler $handler --architectures "$arch" --timeout 30 --memory-size 256 --layers $(layers_of "$1" "$2") \
        --zip-file "fileb://$out/$1.zip" --environment file:///dev/stdin >/dev/null
    on_aws lambda wait function-active-v2 --function-name "$name-$1"
    say "made $name-$1, $runtime"
}

# Through standard input, so that the key is in no list of processes.
variables_of() {
    local key="\"DD_API_KEY\": \"${DD_API_KEY:-}\""
    [ -z "$secret" ] || key="\"DD_API_KEY_SECRET_ARN\": \"$secret\""
    cat <<EOF
{"Variables": {$key, "DD_SITE": "$site", "DD_ENV": "example", "DD_SERVICE": "$name-$1",
 "DD_LAMBDA_HANDLER": "app.handler", "$between_key": "$between"}}
EOF
}

make_sqs() {
    between_key=QUEUE_URL
    between=$(on_aws sqs create-queue --queue-name "$name-orders" --attributes VisibilityTimeout=180 --query QueueUrl)
}

connect_sqs() {
    local arn
    arn=$(on_aws sqs get-queue-attributes --queue-url "$between" --attribute-names QueueArn --query Attributes.QueueArn)
    on_aws lambda create-event-source-mapping --function-name "$name-consumer" --event-source-arn "$arn" --batch-size 10 \
        --function-response-types ReportBatchItemFailures >/dev/null
    say "made the queue $name-orders, which $name-consumer takes from"
}

make_sns() {
    between_key=TOPIC_ARN
    between=$(on_aws sns create-topic --name "$name-orders" --query TopicArn)
}

connect_sns() {
    local arn
    arn=$(allow sns.amazonaws.com "$between")
    on_aws sns subscribe --topic-arn "$between" --protocol lambda --notification-endpoint "$arn" >/dev/null
    say "made the topic $name-orders, to which $name-consumer is subscribed"
}

make_eventbridge() {
    between_key=EVENT_BUS
    between=$name-orders
    on_aws events create-event-bus --name "$between" >/dev/null
}

connect_eventbridge() {
    local arn rule
    rule=$(on_aws events put-rule --name orders --event-bus-name "$between" --event-pattern '{"source": ["orders"]}' \
        --query RuleArn)
    arn=$(allow events.amazonaws.com "$rule")
    on_aws events put-targets --rule orders --event-bus-name "$between" --targets "Id=consumer,Arn=$arn" >/dev/null
    say "made the event bus $name-orders, with a rule for $name-consumer"
}

# Lets a service invoke the consumer, and says the consumer's ARN.
allow() {
    on_aws lambda add-permission --function-name "$name-consumer" --statement-id orders --action lambda:InvokeFunction \
        --principal "$1" --source-arn "$2" >/dev/null
    on_aws lambda get-function --function-name "$name-consumer" --query Configuration.FunctionArn
}

# ---- what was deployed

update() {
    is_built
    local layer each
    layer=$(publish_layer)
    for each in producer consumer; do
        on_aws lambda update-function-code --function-name "$name-$each" --zip-file "fileb://$out/$each.zip" >/dev/null
        on_aws lambda wait function-updated-v2 --function-name "$name-$each"
        python_layer=$(on_aws lambda get-function-configuration --function-name "$name-$each" --query 'Layers[].Arn' |
            tr '\t' '\n' | grep -v ":$name-extension:" || true)
        # shellcheck disable=SC2046 # one argument for each layer
        on_aws lambda update-function-configuration --function-name "$name-$each" --layers $(layers_of "$each" "$layer") >/dev/null
        on_aws lambda wait function-updated-v2 --function-name "$name-$each"
        say "updated $name-$each"
    done
}

invoke() {
    mkdir -p "$out"
    local failed
    failed=$(printf '%s' "$event" | on_aws lambda invoke --function-name "$name-producer" --payload fileb:///dev/stdin \
        --query FunctionError "$out/answer.json")
    cat "$out/answer.json" && echo
    [ "$failed" = None ] || fail "the producer failed: $failed"
}

destroy() {
    local each versions
    "disconnect_$service"
    for each in producer consumer; do
        gone lambda delete-function --function-name "$name-$each"
        gone logs delete-log-group --log-group-name "/aws/lambda/$name-$each"
    done
    versions=$(on_aws lambda list-layer-versions --layer-name "$name-extension" --query 'LayerVersions[].Version')
    for each in $versions; do
        gone lambda delete-layer-version --layer-name "$name-extension" --version-number "$each"
    done
    say "nothing of it is left"
}

disconnect_sqs() {
    local each mappings queues
    mappings=$(on_aws lambda list-event-source-mappings --function-name "$name-consumer" \
        --query 'EventSourceMappings[].UUID')
    for each in $mappings; do
        gone lambda delete-event-source-mapping --uuid "$each"
    done
    queues=$(on_aws sqs list-queues --queue-name-prefix "$name-orders" --query 'QueueUrls[]')
    for each in $queues; do
        [ "${each##*/}" != "$name-orders" ] || gone sqs delete-queue --queue-url "$each"
    done
}

disconnect_sns() {
    local arn each subscriptions topics
    topics=$(on_aws sns list-topics --query "Topics[?ends_with(TopicArn, ':$name-orders')].TopicArn")
    for arn in $topics; do
        subscriptions=$(on_aws sns list-subscriptions-by-topic --topic-arn "$arn" \
            --query 'Subscriptions[].SubscriptionArn')
        for each in $subscriptions; do
            gone sns unsubscribe --subscription-arn "$each"
        done
        gone sns delete-topic --topic-arn "$arn"
    done
}

disconnect_eventbridge() {
    gone events remove-targets --rule orders --event-bus-name "$name-orders" --ids consumer
    gone events delete-rule --name orders --event-bus-name "$name-orders"
    gone events delete-event-bus --name "$name-orders"
}

# Removes something. That it is not there is no error.
gone() {
    local said
    if ! said=$(on_aws "$@" 2>&1); then
        case $said in
            *NotFound* | *NonExistent* | *"does not exist"*) return ;;
            *) fail "$said" ;;
        esac
    fi
}

# ---- this machine

local_run() {
    if [ -z "$binaries" ]; then
        cargo build --manifest-path "$root/Cargo.toml" --package cli --package extension --package "$package"
        binaries=$root/target/debug
    fi
    exec "$(local_python)" "$root/examples/local.py" --service "$service" --rust "$rust" --program "$binaries/$package" \
        --app "$here" --binaries "$binaries" --event "$event" ${keep:+--keep}
}

# A Python with Datadog's library, AWS's runtime client and an AWS API server: the one that the tests use, made when it
# is not there.
local_python() {
    local home=$root/target/real/python wanted=$root/crates/xtask/real/requirements.txt
    if [ -n "${REAL_PYTHON:-}" ]; then
        echo "$REAL_PYTHON"
        return
    fi
    if ! cmp -s "$wanted" "$home/installed.txt"; then
        say "installing $wanted into $home"
        python3 -m venv --clear "$home" >&2
        "$home/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$wanted" >&2
        cp "$wanted" "$home/installed.txt"
    fi
    echo "$home/bin/python"
}

# ---- the command line

if [ $# = 0 ]; then
    usage
    exit
fi
command=$1
shift
while [ $# -gt 0 ]; do
    flag=$1
    case $flag in
        --debug) debug=yes ;;
        --keep) keep=yes ;;
        --role-arn | --api-key-secret | --site | --python-layer | --name | --region | --arch | --event | --binaries)
            [ $# -gt 1 ] || fail "$flag needs a value"
            case $flag in
                --role-arn) role_arn=$2 ;;
                --api-key-secret) secret=$2 ;;
                --site) site=$2 ;;
                --python-layer) python_layer=$2 ;;
                --name) name=$2 ;;
                --region) region=$2 ;;
                --arch) arch=$2 ;;
                --event) event=$2 ;;
                --binaries) binaries=$(cd "$2" && pwd) ;;
            esac
            shift
            ;;
        *) fail "there is no $flag; run it without arguments to see what there is" ;;
    esac
    shift
done
case $command in
    build | deploy | update | invoke | destroy) "$command" ;;
    local) local_run ;;
    -h | --help | help) usage ;;
    *) fail "there is no command $command; run it without arguments to see what there is" ;;
esac
