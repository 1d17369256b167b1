package warren

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

const forwardsYAML = `
underlay: {addresses: [192.0.2.1]}
vrfs:
  main: {port: {netstack: {addresses: [10.9.0.7/32, "fd00:9::7/128"]}}}
  device: {port: {tun: warren0, addresses: [10.8.0.1/24]}}
tunnels:
  b:
    vrf: device
    ipsec:
      remote: 192.0.2.2
      static:
        esp: aes128gcm16
        out: {spi: 0x1001, key: "0x0102030405060708090a0b0c0d0e0f1011121314"}
        in: {spi: 0x1002, key: "0x1112131415161718191a1b1c1d1e1f2021222324"}
    addresses: [169.254.1.1/31]
forward:
  - {listen: "127.0.0.1:8080", to: "10.1.0.5:80", vrf: main}
  - {listen: "127.0.0.1:8080", to: "10.1.0.5:80", vrf: device, protocol: udp, max_connections: 5, idle_timeout: 10s}
  - {listen: "10.9.0.7:22", to: "localhost:22"}
  - {listen: "[fd00:9::7]:22", to: "[::1]:22"}
  - {listen: "169.254.1.1:22", to: "127.0.0.1:22", protocol: udp}
  - {listen: "10.8.0.1:22", to: "10.1.0.5:22", vrf: device}
`

func TestConfigForward(t *testing.T) {
	c, err := ParseConfig("x.yaml", []byte(forwardsYAML))
	if err != nil {
		t.Fatal(err)
	}
	at := netip.MustParseAddrPort
	equal(t, "forwards", c.Forwards, []ForwardConfig{
		{at("127.0.0.1:8080"), "10.1.0.5:80", "tcp", "main", 1024, 0},
		{at("127.0.0.1:8080"), "10.1.0.5:80", "udp", "device", 5, 10 * time.Second},
		{at("10.9.0.7:22"), "localhost:22", "tcp", "", 1024, 0},
		{at("[fd00:9::7]:22"), "[::1]:22", "tcp", "", 1024, 0},
		{at("169.254.1.1:22"), "127.0.0.1:22", "udp", "", 1024, time.Minute},
		{at("10.8.0.1:22"), "10.1.0.5:22", "tcp", "device", 1024, 0},
	})
	if err := c.Validate(); err != nil {
		t.Errorf("what was read, checked again: %v", err)
	}
	type side struct {
		vrf    string
		inside bool
	}
	// The address of a TUN device is the host's, that of a tunnel behind one the engine's own.
	for i, want := range []side{{"main", false}, {"device", false}, {"main", true}, {"main", true}, {"device", true}, {"device", false}} {
		stack, inside, wrong := c.Forwards[i].stackOf(c.stacks())
		if wrong != nil || (side{stack.vrf, inside}) != want {
			t.Errorf("forward %d: %v %v %v, want %v", i, stack, inside, wrong, want)
		}
	}
	for yaml, want := range map[string]string{
		"vrfs: {m: {port: {tun: t0}}}\nforward: [{listen: '127.0.0.1:1', to: '10.0.0.1:1'}]": "no vrf has a stack of its own",
		"vrfs: {m: {port: {tun: t0}}}\nforward:\n":                                           "",
	} {
		if _, err := ParseConfig("x.yaml", []byte(yaml)); want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// TestForwardQuery: what a client asks for is what the engine reads.
func TestForwardQuery(t *testing.T) {
	for _, want := range []ForwardConfig{
		{Listen: netip.MustParseAddrPort("127.0.0.1:0"), To: "10.0.0.1:80"},
		{Listen: netip.MustParseAddrPort("[fe80::1%eth0]:1"), To: "a&b:80", Protocol: "udp", VRF: "a vrf", MaxConnections: 7, IdleTimeout: time.Second},
	} {
		got, err := forwardOf(want.query())
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "forward", got, want)
	}
	for key, bad := range map[string]string{"listen": "80", "max_connections": "many", "idle_timeout": "soon"} {
		q := (&ForwardConfig{Listen: netip.MustParseAddrPort("127.0.0.1:0"), To: "10.0.0.1:80"}).query()
		q.Set(key, bad)
		if _, err := forwardOf(q); err == nil || !strings.HasPrefix(err.Error(), key) {
			t.Errorf("%s %q: %v", key, bad, err)
		}
	}
}
