#!/usr/bin/env bash
# Makes an authority of its own and one certificate for scheduler, workers and driver.
#   configs/dask-tls/certificates.sh FOLDER
# Who holds FOLDER/key.pem can run programs on the cluster: keep the folder to yourself.
# Edit: nothing. For certificates of your site's authority, put ca.pem, cert.pem and key.pem there.
set -euo pipefail
umask 077
folder=${1:?"name a folder"}
days=${HARVEST_CERTIFICATE_DAYS:-30}
mkdir -p "$folder"
cd "$folder"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days "$days" \
  -keyout ca-key.pem -out ca.pem -subj "/CN=harvest authority" 2>/dev/null
openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
  -keyout key.pem -out request.pem -subj "/CN=harvest" 2>/dev/null
openssl x509 -req -in request.pem -CA ca.pem -CAkey ca-key.pem -set_serial 1 -days "$days" \
  -out cert.pem 2>/dev/null
# nobody needs to sign another one
rm ca-key.pem request.pem
