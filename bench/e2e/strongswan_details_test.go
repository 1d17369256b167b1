//go:build linux

package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// TestStrongSwanDetails: what is seldom, and has to be right all the same.
func TestStrongSwanDetails(t *testing.T) {
	s := newSwan(t)
	pair := [2]string{"10.1.0.1", "10.2.0.1"}
	children := []string{"peer"}
	// Each guesses the other's group wrong and is told so (RFC 7296 sections 1.2 and 1.3): in IKE_SA_INIT and with PFS.
	s.run("another-group", func(s *swan) {
		charon, child := oneChild("aes128gcm16-ecp256")
		s.load(swanctlPSK("proposals = aes128gcm16-prfsha256-ecp256, aes128gcm16-prfsha256-curve25519", charon))
		s.start(oursPSK + "proposals: aes128gcm16-prfsha256-modp3072, aes128gcm16-prfsha256-curve25519\n" +
			strings.Replace(child, `"aes128gcm16-ecp256"`, `"aes128gcm16-curve25519, aes128gcm16-ecp256"`, 1))
		s.bothWays(children, pair)
		s.warrenSays("up", "peer")
		s.awaitUp("peer", 1)
		s.rekeys(pair)
		if log := s.charonLog(); strings.Count(log, "INVAL_KE") < 3 {
			s.t.Errorf("INVALID_KE_PAYLOAD was sent %d times, want 3", strings.Count(log, "INVAL_KE"))
		}
	})
	s.run("transport-mode", (*swan).transportMode)
	s.run("port-4500-from-the-start", func(s *swan) {
		charon, child := oneChild("aes128gcm16")
		s.load(swanctlPSK("local_port = 4500\nremote_port = 4500", charon))
		s.start(oursPSK + "remote_port: 4500\n" + child)
		s.bothWays(children, pair)
		if log := s.charonLog(); strings.Contains(log, "[500]") {
			s.t.Error("something was sent on port 500")
		}
	})
	s.run("from-anywhere", (*swan).fromAnywhere)
	s.run("ipv6-outside", func(s *swan) {
		charon, child := oneChild("aes128gcm16")
		s.load(strings.NewReplacer("192.0.2.2", "2001:db8::2", "192.0.2.1", "2001:db8::1").Replace(swanctlPSK("", charon)))
		s.startConfig(strings.NewReplacer("[192.0.2.1]", `["2001:db8::1"]`, "192.0.2.2", `"2001:db8::2"`).Replace(s.config(oursPSK + child)))
		s.bothWays(children, pair)
	})
	for suite, mtu := range map[string]int{"aes128gcm16": 1438, "aes256-sha256": 1422} {
		s.run("mtu-"+suite, func(s *swan) { s.exactMTU(suite, mtu) })
	}
}

// transportMode: charon wants it between the two hosts and gets tunnel mode, as RFC 7296 section 1.3.1 says of who declines.
func (s *swan) transportMode() {
	s.load(swanctlPSK("", "peer { mode = transport\n}"))
	s.start(oursPSK + "child: {local_ts: [192.0.2.1], remote_ts: [192.0.2.2]}")
	s.must(s.charon.Initiate(s.ctx, "peer"))
	s.awaitUp("peer", 1)
	s.eventuallyLog(0, []string{"declined the peer's USE_TRANSPORT_MODE"})
	if sas, err := s.charon.Ctl(s.ctx, "--list-sas"); err != nil || !strings.Contains(s.charonLog(), "N(USE_TRANSP)") || !strings.Contains(sas, "TUNNEL-in-UDP") {
		s.t.Errorf("%v %s", err, sas)
	}
}

// fromAnywhere: a branch without an address of its own comes with its networks, which are routed to it while it is there.
func (s *swan) fromAnywhere() {
	charon, child := oneChild("aes128gcm16")
	s.load(swanctlPSK("", charon))
	s.startConfig(strings.Replace(s.config(oursPSK+child), "remote: 192.0.2.2", "remote: any", 1))
	if r, err := s.inside.Ping(s.ctx, "10.2.0.1", 1, "-I", "10.1.0.1", "-W", "1"); err == nil && r.Received > 0 {
		s.t.Error("a packet crossed before anybody came")
	}
	for number := 1; number <= 2; number++ {
		s.must(s.charon.Initiate(s.ctx, "peer"))
		s.awaitUp(fmt.Sprintf("peer[%d]", number), 1)
		s.pings("10.1.0.1", "10.2.0.1")
		_, err := s.charon.Ctl(s.ctx, "--terminate", "--ike", "t")
		s.must(err)
		s.eventually("the route to go", func() error {
			routes, err := s.client.Routes(s.ctx, "10.2.0.0/16")
			for _, r := range routes {
				for _, h := range r.Hops {
					if h.Kind == "tunnel" {
						return fmt.Errorf("%+v", r)
					}
				}
			}
			return err
		})
	}
}

// exactMTU: a packet of the design's size crosses, and one of a byte more is answered with what fits.
func (s *swan) exactMTU(suite string, mtu int) {
	charon, child := oneChild(suite)
	s.load(swanctlPSK("", charon))
	s.start(oursPSK + child)
	s.warrenSays("up", "peer")
	s.awaitUp("peer", 1)
	const headers = 28
	s.must(s.inside.WaitReachable(s.ctx, "10.2.0.1", "-I", "10.1.0.1", "-M", "do", "-s", fmt.Sprint(mtu-headers))) // for charon, see pings
	r, err := s.inside.Ping(s.ctx, "10.2.0.1", 1, "-I", "10.1.0.1", "-M", "do", "-s", fmt.Sprint(mtu+1-headers))
	if err == nil && r.Received > 0 {
		s.t.Errorf("%d bytes crossed: %s", mtu+1, r.Output)
	}
	if out, err := s.inside.Run(s.ctx, "ip", "route", "get", "10.2.0.1", "from", "10.1.0.1"); err != nil || !strings.Contains(r.Output+out, fmt.Sprintf("mtu %d", mtu)) && !strings.Contains(r.Output, fmt.Sprintf("mtu = %d", mtu)) && !strings.Contains(r.Output, fmt.Sprintf("mtu=%d", mtu)) {
		s.t.Errorf("%d bytes were not answered with %d: %v %s %s", mtu+1, mtu, err, out, r.Output)
	}
}
