#!/bin/bash
# Start a real kube-apiserver (embedded etcd) for tests.
#   start.sh DIR [PORT [ETCD_PORT]]        the program is $KUBE_APISERVER
# DIR keeps the certificates, the etcd data, the log and the process id (DIR/pid); a second
# start on the same DIR continues with the same objects, keys and resource versions.
# Written for the caller: DIR/kubeconfig (admin, client certificate), DIR/token (admin bearer token),
# DIR/ca.crt (PORT is written into the kubeconfig the first time only). Returns when /readyz answers 200. Stop: kill -9 $(cat DIR/pid) (TERM takes 2 s, 60 s while a watch is open)
set -eu
dir=$1; port=${2:-16443}; eport=${3:-12379}
bin=${KUBE_APISERVER:?the program kube-apiserver}
mkdir -p "$dir"; cd "$dir"; dir=$PWD
if [ ! -e ca.crt ]; then
  q="openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
  $q -x509 -keyout ca.key -out ca.crt -days 30 -subj /CN=test-ca 2>/dev/null
  $q -keyout srv.key -out srv.csr -subj /CN=kube-apiserver 2>/dev/null
  printf 'subjectAltName=DNS:localhost,DNS:kubernetes.default.svc,IP:127.0.0.1,IP:10.96.0.1\nextendedKeyUsage=serverAuth' >srv.ext
  openssl x509 -req -in srv.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 -extfile srv.ext -out srv.crt 2>/dev/null
  $q -keyout admin.key -out admin.csr -subj /O=system:masters/CN=admin 2>/dev/null
  printf 'extendedKeyUsage=clientAuth' >admin.ext
  openssl x509 -req -in admin.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 -extfile admin.ext -out admin.crt 2>/dev/null
  openssl genrsa -out sa.key 2048 2>/dev/null
  tok=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n'); echo -n "$tok" >token
  echo "$tok,admin,admin-uid,system:masters" >tokens.csv
  b() { base64 -w0 "$1"; }
  cat >kubeconfig <<K
apiVersion: v1
kind: Config
current-context: t
contexts: [{name: t, context: {cluster: t, user: admin}}]
clusters: [{name: t, cluster: {server: "https://127.0.0.1:$port", certificate-authority-data: $(b ca.crt)}}]
users: [{name: admin, user: {client-certificate-data: $(b admin.crt), client-key-data: $(b admin.key)}}]
K
fi
"$bin" --data-dir "$dir" --etcd-port "$eport" \
  --secure-port "$port" --bind-address 127.0.0.1 --advertise-address 127.0.0.1 \
  --tls-cert-file srv.crt --tls-private-key-file srv.key --client-ca-file ca.crt --token-auth-file tokens.csv \
  --authorization-mode RBAC --anonymous-auth=false \
  --service-account-issuer https://kubernetes.default.svc --service-account-key-file sa.key --service-account-signing-key-file sa.key \
  --service-cluster-ip-range 10.96.0.0/16,fd00:96::/112 --endpoint-reconciler-type none --disable-admission-plugins ServiceAccount \
  --shutdown-delay-duration 0s >>apiserver.log 2>&1 &
pid=$!; echo $pid >pid
for i in $(seq 600); do
  [ "$(curl -s -o /dev/null -w '%{http_code}' --cacert ca.crt -H "Authorization: Bearer $(cat token)" "https://127.0.0.1:$port/readyz" || true)" = 200 ] && exit 0
  kill -0 $pid 2>/dev/null || { tail -20 apiserver.log >&2; exit 1; }
  sleep 0.1
done
echo "not ready after 60 s" >&2; kill -TERM $pid; exit 1
