package warren_test

import (
	"testing"
)

// TestOwnKeyAndPort: a tunnel with a key and a port of its own, beside the one that shares those of all, to the same peer's key.
func TestOwnKeyAndPort(t *testing.T) {
	private, public := wgKeys(t, 4) // of site 1 and 2, and of the tunnel's own at each
	var sites [2]string
	for i := range sites {
		sites[i] = `
# %[3]s %[4]d
underlay: {addresses: [192.0.2.%[1]d]}
wireguard: {private_key: "` + private[i] + `", listen_port: 51820}
vrfs:
  main: {port: {netstack: {addresses: [10.%[1]d.0.1/16, 10.1%[1]d.0.1/16]}}}
tunnels:
  shared:
    wireguard: {public_key: "` + public[1-i] + `", endpoint: "192.0.2.%[2]d:51820"}
    routes: [10.%[2]d.0.0/16]
  own:
    wireguard: {private_key: "` + private[2+i] + `", listen_port: 5182%[1]d, public_key: "` + public[3-i] + `", endpoint: "192.0.2.%[2]d:5182%[2]d"}
    routes: [10.1%[2]d.0.0/16]
`
	}
	e := startWireGuard(t, sites)
	for _, dst := range []string{"10.2.0.1", "10.12.0.1"} {
		if err := ping(t, e[0], dst, patience); err != nil {
			t.Fatalf("ping %s: %v", dst, err)
		}
	}
	for i := range e {
		own, shared := tunnelStatus(t, e[i], "own"), tunnelStatus(t, e[i], "shared")
		if own.OutPackets == 0 || shared.OutPackets == 0 || own.WireGuard.ListenPort != uint16(51821+i) || own.WireGuard.Device != public[2+i] || shared.WireGuard.Device != public[i] {
			t.Errorf("engine %d: %+v %+v; %+v %+v", i, own, own.WireGuard, shared, shared.WireGuard)
		}
	}
}
