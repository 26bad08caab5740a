#!/usr/bin/env bash
# Starts a Dask scheduler over TLS.
#   configs/dask-tls/certificates.sh /shared/certificates
#   configs/dask-tls/scheduler.sh /shared/certificates
# Edit, or set in the environment: the network interface and the port.
set -euo pipefail
certificates=${1:?"name the folder of the certificates"}
# its address: the command line of Dask takes no interface together with TLS
host=$(python -c 'import sys; from distributed.utils import get_ip_interface as address
print(address(sys.argv[1]))' "${HARVEST_INTERFACE:-lo}")
# the dashboard is not encrypted: reach it through ssh -L 8787:127.0.0.1:8787
exec dask scheduler \
  --host "$host" \
  --port "${HARVEST_PORT:-8786}" \
  --dashboard-address "127.0.0.1:${HARVEST_DASHBOARD_PORT:-8787}" \
  --tls-ca-file "$certificates/ca.pem" \
  --tls-cert "$certificates/cert.pem" \
  --tls-key "$certificates/key.pem" \
  "${@:2}"
