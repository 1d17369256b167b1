//go:build linux

package lab

import (
	"fmt"
	"strings"
	"testing"
)

// swanctlPSK is one end of a tunnel between 10.1.0.0/16 on a and 10.2.0.0/16 on b; %[1]s is ours, %[2]s the other's.
func swanctlPSK(local, remote [3]string) string {
	return fmt.Sprintf(`connections { t {
  version = 2
  local_addrs = %s
  remote_addrs = %s
  encap = yes
  proposals = aes256gcm16-prfsha384-ecp384
  local { auth = psk
    id = %s }
  remote { auth = psk
    id = %s }
  children { c {
    local_ts = %s
    remote_ts = %s
    esp_proposals = aes256gcm16-ecp384 } } } }
secrets { ike-t { secret = "a key for tests" } }
`, local[0], remote[0], local[1], remote[1], local[2], remote[2])
}

func TestStrongSwanPair(t *testing.T) {
	ctx := deadline(t)
	_, a, b := PairForTest(t, append(StrongSwanPrograms, "ping", "tcpdump")...)
	ends := [2][3]string{{PairA4, "a.example", "10.1.0.0/16"}, {PairB4, "b.example", "10.2.0.0/16"}}
	for h, addr := range map[*Host]string{a: "10.1.0.1/32", b: "10.2.0.1/32"} {
		if err := h.AddAddress("lo", addr); err != nil {
			t.Fatal(err)
		}
	}
	first, err := a.StartStrongSwan(ctx, swanctlPSK(ends[0], ends[1]))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.StartStrongSwan(ctx, swanctlPSK(ends[1], ends[0])); err != nil {
		t.Fatal(err)
	}
	if err := first.Initiate(ctx, "c"); err != nil {
		t.Fatal(err)
	}
	sas, err := first.Ctl(ctx, "--list-sas")
	if err != nil || !strings.Contains(sas, "INSTALLED") || !strings.Contains(sas, "AES_GCM_16-256") {
		t.Errorf("no child SA with the configured suite: %v\n%s", err, sas)
	}
	wire, err := a.Capture(ctx, "eth0", "udp", "port", "4500")
	if err != nil {
		t.Fatal(err)
	}
	oneOfSome(t, func() error { // what charon opens it may lose on its way to its kernel, when the machine is busy
		got, err := a.Ping(ctx, "10.2.0.1", 5, "-I", "10.1.0.1", "-W", "3")
		if err != nil || got.Received != 5 {
			return fmt.Errorf("ping through ESP: %+v, %v\n%s", got, err, first.Log())
		}
		return nil
	})
	if err := wire.Stop(); err != nil {
		t.Fatal(err)
	}
	if text, err := a.Run(ctx, "tcpdump", "-n", "-r", wire.Path()); err != nil || strings.Count(text, "UDP-encap: ESP") < 10 {
		t.Errorf("the wire carried no ESP in UDP for the pings: %v\n%s", err, text)
	}
	if err := first.Stop(); err != nil {
		t.Error(err)
	}
}

func TestWireGuardPair(t *testing.T) {
	ctx := deadline(t)
	_, a, b := PairForTest(t, append(WireGuardPrograms, "ping")...)
	tunnels, err := ConnectWireGuard(ctx, [2]WireGuardEnd{
		{Host: a, Outer: PairA4, Inner: []string{"10.1.0.1/16"}, Subnets: []string{"10.1.0.0/16"}},
		{Host: b, Outer: PairB6, Inner: []string{"10.2.0.1/16"}, Subnets: []string{"10.2.0.0/16"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.WaitReachable(ctx, "10.2.0.1"); err != nil {
		t.Fatalf("%v\n%s", err, tunnels[0].Log())
	}
	got, err := a.Ping(ctx, "10.2.0.1", 5, "-M", "do", "-s", fmt.Sprint(WireGuardMTU-28))
	if err != nil || got.Received != 5 {
		t.Errorf("ping through WireGuard: %+v, %v", got, err)
	}
	shown, err := a.Run(ctx, "wg", "show", tunnels[0].Device)
	if err != nil || !strings.Contains(shown, "latest handshake") {
		t.Errorf("wg show: %v\n%s", err, shown)
	}
}
