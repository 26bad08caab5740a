#!/usr/bin/env bash
# Starts this machine's Dask workers for a scheduler over TLS.
#   configs/dask-tls/workers.sh /shared/certificates tls://HOST:8786
# Edit, or set in the environment: the network interface, and how many workers (README, "Sizing").
set -euo pipefail
certificates=${1:?"name the folder of the certificates"}
scheduler=${2:?"name the scheduler, tls://HOST:8786"}
# its address: the command line of Dask takes no interface together with TLS
host=$(python -c 'import sys; from distributed.utils import get_ip_interface as address
print(address(sys.argv[1]))' "${HARVEST_INTERFACE:-lo}")
exec dask worker "$scheduler" \
  --host "$host" \
  --nworkers "${HARVEST_WORKERS:-$(nproc)}" \
  --nthreads 1 \
  --dashboard-address 127.0.0.1:0 \
  --local-directory "${TMPDIR:-/tmp}" \
  --tls-ca-file "$certificates/ca.pem" \
  --tls-cert "$certificates/cert.pem" \
  --tls-key "$certificates/key.pem" \
  "${@:3}"
