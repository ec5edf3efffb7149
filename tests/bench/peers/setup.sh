#!/bin/sh
# Which systems does `bun run bench --peers` compare raftq with? Installs those that are missing from Debian's packages, as root.
# None is started now: the benchmark starts its own. Debian lets some start with the machine: `systemctl disable` those.
set -e
packages=""
for package in etcd-server rabbitmq-server zookeeper nats-server redis-server beanstalkd; do
  dpkg -s "$package" >/dev/null 2>&1 || packages="$packages $package"
done
[ -n "$packages" ] || exit 0
# Debian starts a daemon with its package unless this file forbids it.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod +x "$policy"
  trap 'rm -f "$policy"' EXIT
fi
apt-get update -q
# shellcheck disable=SC2086 # several packages
DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $packages
