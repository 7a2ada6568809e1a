# The secured Kafka of scripts/kafka.sh: read by it, not run.
#
# Listeners of each node: SASL_SSL (SCRAM-SHA-512, SCRAM-SHA-256, PLAIN), SSL (asks
# for a client's certificate), TLS (asks for none), SASL (SASL without TLS), and for
# the brokers themselves INTERNAL and CONTROLLER, both plain.
# StandardAuthorizer: `admin` may do all, as may who has no name (INTERNAL,
# TLS); `deck` (also the name in the client's certificates) may do what ACLs allow.
# DIR/secure.env says everything as NAME=value:
#   SASL_SSL, SSL, TLS, SASL, INTERNAL      bootstrap addresses of the listeners
#   ADMIN_USER, ADMIN_PASSWORD, DECK_USER, DECK_PASSWORD
#   CA_FILE                                 who signed the servers' certificates
#   OTHER_CA_FILE                           an authority that nobody here trusts
#   CERTIFICATE_FILE, KEY_FILE              the client's
#   EXPIRED_CERTIFICATE_FILE, EXPIRED_KEY_FILE    the same, out of date
#   STRANGER_CERTIFICATE_FILE, STRANGER_KEY_FILE  signed by the other authority

authority() { # file without ending, name
    openssl req -x509 -newkey rsa:2048 -nodes -sha256 -days 3650 -subj "/CN=$2" \
        -keyout "$1.key" -out "$1.pem" >/dev/null 2>&1
}

certificate() { # file without ending, authority, name, extensions, how it is dated…
    file=$1 by=$2 name=$3 extensions=$4
    shift 4
    openssl req -new -newkey rsa:2048 -nodes -sha256 -subj "/CN=$name" -keyout "$file.key" -out "$file.csr" >/dev/null 2>&1
    echo "$extensions" >"$file.ext"
    openssl x509 -req -sha256 -in "$file.csr" -CA "$by.pem" -CAkey "$by.key" -CAcreateserial \
        -extfile "$file.ext" "$@" -out "$file.pem" >/dev/null 2>&1
    rm -f "$file.csr" "$file.ext"
}

secure_files() { # all that DIR/secure.env names but the addresses
    tls=$1/tls
    mkdir -p "$tls"
    authority "$tls/ca" "tapedeck test authority"
    authority "$tls/other-ca" "an authority nobody trusts"
    certificate "$tls/server" "$tls/ca" localhost "subjectAltName=DNS:localhost,IP:127.0.0.1" -days 3650
    certificate "$tls/client" "$tls/ca" deck "extendedKeyUsage=clientAuth" -days 3650
    certificate "$tls/stranger" "$tls/other-ca" deck "extendedKeyUsage=clientAuth" -days 3650
    # Out of date: openssl before 3.4 takes days below zero, later ones take dates.
    certificate "$tls/expired" "$tls/ca" deck "extendedKeyUsage=clientAuth" -days -1 ||
        certificate "$tls/expired" "$tls/ca" deck "extendedKeyUsage=clientAuth" \
            -not_before 20200101000000Z -not_after 20200102000000Z
    cat "$tls/server.key" "$tls/server.pem" >"$tls/server-store.pem"
    admin_password=$(secret) deck_password=$(secret)
    cat >"$1/secure.env" <<ENV
ADMIN_USER=admin
ADMIN_PASSWORD=$admin_password
DECK_USER=deck
DECK_PASSWORD=$deck_password
CA_FILE=$tls/ca.pem
OTHER_CA_FILE=$tls/other-ca.pem
CERTIFICATE_FILE=$tls/client.pem
KEY_FILE=$tls/client.key
EXPIRED_CERTIFICATE_FILE=$tls/expired.pem
EXPIRED_KEY_FILE=$tls/expired.key
STRANGER_CERTIFICATE_FILE=$tls/stranger.pem
STRANGER_KEY_FILE=$tls/stranger.key
ENV
}

secure_settings() { # of one node, from the variables that lay_out sets
    told=$advertised_port
    cat <<PROPERTIES
listeners=SASL_SSL://127.0.0.1:$client,SSL://127.0.0.1:$ssl,TLS://127.0.0.1:$tls_only,SASL://127.0.0.1:$sasl,INTERNAL://127.0.0.1:$internal,CONTROLLER://127.0.0.1:$controller
advertised.listeners=SASL_SSL://127.0.0.1:$told,SSL://127.0.0.1:$ssl,TLS://127.0.0.1:$tls_only,SASL://127.0.0.1:$sasl,INTERNAL://127.0.0.1:$internal
listener.security.protocol.map=SASL_SSL:SASL_SSL,SSL:SSL,TLS:SSL,SASL:SASL_PLAINTEXT,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT
ssl.keystore.type=PEM
ssl.keystore.location=$dir/tls/server-store.pem
ssl.truststore.type=PEM
ssl.truststore.location=$dir/tls/ca.pem
listener.name.ssl.ssl.client.auth=required
listener.name.tls.ssl.client.auth=none
ssl.principal.mapping.rules=RULE:^CN=([^,]+).*\$/\$1/,DEFAULT
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:admin;User:ANONYMOUS
allow.everyone.if.no.acl.found=false
PROPERTIES
    . "$dir/secure.env"
    for listener in sasl_ssl sasl; do
        cat <<PROPERTIES
listener.name.$listener.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_admin="$ADMIN_PASSWORD" user_deck="$DECK_PASSWORD";
listener.name.$listener.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.$listener.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
PROPERTIES
    done
}

secure_users() { # arguments of the formatter, none of them with a space
    . "$dir/secure.env"
    for mechanism in SCRAM-SHA-256 SCRAM-SHA-512; do
        echo "--add-scram $mechanism=[name=admin,password=$ADMIN_PASSWORD] --add-scram $mechanism=[name=deck,password=$DECK_PASSWORD]"
    done
}

secure_addresses() { # into DIR/secure.env, all nodes' of each listener
    for listener in SASL_SSL SSL TLS SASL INTERNAL; do
        printf '%s=' "$listener"
        for node in "$dir"/node*/; do
            sed -n "s,^advertised.listeners=\(.*\),\1,p" "$node/broker.properties" | tr ',' '\n' | sed -n "s,^$listener://,,p"
        done | paste -sd , -
    done >>"$dir/secure.env"
}
