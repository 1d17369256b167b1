//go:build linux

package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/warrenvpn/warren"
	"github.com/warrenvpn/warren/bench/lab"
	"github.com/warrenvpn/warren/routing/bgp"
)

// publicKey is where an example has the public key of a peer, whose private key nobody has.
var publicKey = regexp.MustCompile(`public_key: "[A-Za-z0-9+/]{43}="`)

// withKeys puts other public keys into an example, in their order.
func withKeys(text string, keys ...lab.WireGuardKey) string {
	return publicKey.ReplaceAllStringFunc(text, func(string) string {
		key := keys[0]
		keys = keys[1:]
		return fmt.Sprintf("public_key: %q", key.Public)
	})
}

// mirroredWG is the configuration of V2-1, the other end of one of the site's tunnels. It waits to be spoken to.
const mirroredWG = `underlay: {addresses: ["2001:db8:2::1"]}
wireguard: {private_key_file: /etc/warren/wg.key, listen_port: 51820, interface: "no"}
vrfs:
  private:
    port: {tun: warren0, netns: private}
    bgp: {local_as: 65002, router_id: 1.0.2.1, hold_time: 6s, connect_retry: 2s, export: [{from: kernel, device: "eth*"}], import: all}
    kernel: {export: [{from: bgp}, {from: connected}], import: [{device: "eth*"}]}
tunnels:
  V1-1:
    wireguard: {public_key: %q}
    addresses: ["2001:db8:ff::1/127", 169.254.1.1/31]
    bgp: {neighbor_as: 65001}
`

// birdOfV22 speaks BGP over wireguard-go's device. It announces more than its tunnel's allowed_ips let it send.
const birdOfV22 = `log stderr all;
router id 1.0.2.2;
protocol device { scan time 1; }
protocol static { ipv6; route 2001:db8:a2::/64 blackhole; route 2001:db8:a3::/64 blackhole; }
protocol kernel { ipv4 { import none; export where source = RTS_BGP; }; }
protocol kernel { ipv6 { import none; export where source = RTS_BGP; }; }
template bgp site { local as 65002; direct; hold time 6; connect delay time 1; error wait time 1, 2; connect retry time 2; }
protocol bgp V1_1_v6 from site { neighbor 2001:db8:ff::2 as 65001; ipv6 { import all; export where source = RTS_STATIC; next hop self; }; }
protocol bgp V1_1_v4 from site { neighbor 169.254.1.2 as 65001; ipv4 { import all; export where source = RTS_STATIC; next hop self; }; }
`

// startV22 starts wireguard-go with BIRD beside it, the peer V2-2 of the site.
func startV22(s *swan, h *lab.Host, own, site lab.WireGuardKey) *lab.BIRD {
	s.t.Helper()
	for _, a := range []string{"2001:db8:a2::1/128", "2001:db8:a3::1/128"} {
		s.must(h.AddAddress("lo", a))
	}
	g, err := h.StartWireGuard(s.ctx, own, wgPort)
	s.must(err)
	for _, a := range []string{"2001:db8:ff::3/127", "169.254.1.3/31"} {
		s.must(h.AddAddress(g.Device, a))
	}
	_, err = h.Run(s.ctx, "wg", "set", g.Device, "peer", site.Public, "endpoint", "[2001:db8:1::1]:51820", "allowed-ips", "0.0.0.0/0,::/0")
	s.must(err)
	bird, err := h.StartBIRD(s.ctx, birdOfV22)
	s.must(err)
	return bird
}

// TestWireGuardSite: the design's site-wireguard.yaml as written, but for its peers' public keys. V2-1 is a warren, V2-2 wireguard-go
// with BIRD beside it, both behind one key and one port. BGP speaks over the tunnels, and the networks behind reach each other; what
// V2-2 sends is filtered as allowed_ips says, and what goes to it is not.
func TestWireGuardSite(t *testing.T) {
	text := example(t, "site-wireguard.yaml")
	s, street := newField(t, append(append(lab.WireGuardPrograms, lab.BIRDPrograms...), "ping")...)
	v11, in11, v21, in21, v22 := s.host("v11"), s.host("in11"), s.host("v21"), s.host("in21"), s.host("v22")
	for h, addr := range map[*lab.Host]string{v11: "2001:db8:1::1/32", v21: "2001:db8:2::1/32", v22: "2001:db8:2::2/32"} {
		s.plug(street, h, addr)
	}
	near, far := s.behind(in11, "near", "eth0", "10.1.254.1/24", "10.1.254.2/24"), s.behind(in21, "far", "eth0", "10.2.254.1/24", "10.2.254.2/24")
	s.must(s.lab.Connect(lab.Link{A: in11, B: near, AddrsA: []string{"2001:db8:a1::1/64"}, AddrsB: []string{"2001:db8:a1::2/64"}, DevA: "eth6", DevB: "eth6"}))
	s.must(near.IP("route", "add", "::/0", "via", "2001:db8:a1::1"))
	s.forward(in11)
	s.forward(in21)

	var keys [3]lab.WireGuardKey
	for i := range keys {
		var err error
		keys[i], err = lab.NewWireGuardKey()
		s.must(err)
	}
	bird := startV22(s, v22, keys[2], keys[0])
	key := func(i int) map[string]string { return map[string]string{"warren/wg.key": keys[i].Private + "\n"} }
	s.asWritten(v21, fmt.Sprintf(mirroredWG, keys[0].Public), written{etc: key(1), netns: map[string]*lab.Host{"private": in21}})
	one := s.asWritten(v11, withKeys(text, keys[1], keys[2]), written{etc: key(0), netns: map[string]*lab.Host{"private": in11}})

	s.must(one.Wait(s.ctx, "all four neighbors", func() error {
		all, err := one.client.Neighbors(s.ctx)
		for _, n := range all {
			if n.State != bgp.Established.String() {
				return fmt.Errorf("%+v", n)
			}
		}
		if err == nil && len(all) != 4 {
			err = fmt.Errorf("%+v", all)
		}
		return err
	}))
	s.must(bird.Established(s.ctx))
	s.must(near.WaitReachable(s.ctx, "10.2.254.2"))
	s.must(far.WaitReachable(s.ctx, "10.1.254.2"))
	s.must(near.WaitReachable(s.ctx, "2001:db8:a2::1"))
	s.must(lab.WaitFor(s.ctx, "a route to what V2-2 may not send from", func() error {
		_, err := in11.Run(s.ctx, "ip", "route", "get", "2001:db8:a3::1")
		return err
	}))
	before := filtered(s, one, "V2-2")
	if r, err := near.Ping(s.ctx, "2001:db8:a3::1", 1, "-W", "1"); err == nil && r.Received > 0 {
		t.Error("an answer from an address that is not allowed")
	}
	s.must(one.Wait(s.ctx, "the answer to be filtered", func() error { // and what V2-2's kernel says of its device
		if now := filtered(s, one, "V2-2"); now == before {
			return fmt.Errorf("%d packets were, %d before", now, before)
		}
		return nil
	}))
}

// filtered is how many packets of a tunnel were not allowed.
func filtered(s *swan, g *gate, name string) uint64 {
	s.t.Helper()
	st, err := g.client.Status(s.ctx)
	s.must(err)
	for _, t := range st.Tunnels {
		if t.Name == name {
			return t.Drops["selector_in"]
		}
	}
	s.t.Fatalf("no tunnel %q", name)
	return 0
}

// unprivileged starts a program as nobody, with a file of names of its own.
const unprivileged = `set -e; mount --bind "$1" /etc/hosts; shift; exec setpriv --reuid 65534 --regid 65534 --clear-groups --no-new-privs --bounding-set=-all "$@"`

// TestSidecar: the design's sidecar.yaml as written, but for its peer's public key, run by a user without any privilege.
func TestSidecar(t *testing.T) {
	text := example(t, "sidecar.yaml")
	w := newWG(t, "setpriv", "mount")
	dir, err := os.MkdirTemp("", "warren-e2e")
	w.must(err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	file := func(name, content string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		w.must(os.WriteFile(path, []byte(content), mode))
		return path
	}
	program, err := os.ReadFile(w.program)
	w.must(err)
	exe := file("warren", string(program), 0o755)
	conf := file("sidecar.yaml", withKeys(text, w.keys[1]), 0o644)
	w.must(os.Chown(file("wg.key", w.keys[0].Private+"\n", 0o600), nobodysID, nobodysID))
	hosts := file("hosts", lab.PairB4+" hub.example\n", 0o644)
	w.must(os.Chmod(dir, 0o777))

	w.peer, err = w.b.StartWireGuard(w.ctx, w.keys[1], wgPort)
	w.must(err)
	w.must(w.b.AddAddress(w.peer.Device, "10.1.0.5/16"))
	w.must(w.peer.AddPeer(w.ctx, lab.WireGuardPeer{Public: w.keys[0].Public, AllowedIPs: []string{"10.9.0.7/32"}}))
	w.echoes(w.b, "10.1.0.5:80")
	w.echoes(w.a, "127.0.0.1:22")
	socket := filepath.Join(dir, "w.sock")
	p, err := w.a.Start("sh", "-c", unprivileged, "sh", hosts, exe, "run", "--socket", socket, conf)
	w.must(err)
	w.warren, w.client = p, warren.NewClient(socket)
	w.must(p.Wait(w.ctx, "the engine to answer", func() error { _, err := w.client.Status(w.ctx); return err }))

	// The hub knows where the sidecar is since that sends keepalives, and speaks first.
	w.eventually("an answer from the sidecar's own address", func() error { return w.echoed(w.b, "10.9.0.7:22") })
	w.eventually("an answer through the local socket", func() error { return w.echoed(w.a, "127.0.0.1:8080") })
	if log := p.Log(); strings.Contains(log, "level=ERROR") || strings.Contains(log, "level=WARN") {
		t.Errorf("the log of who has no privilege:\n%s", log)
	}
	w.stop()
}

// echoes has a host answer at an address with what it is told.
func (w *wg) echoes(h *lab.Host, at string) {
	w.t.Helper()
	var ln net.Listener
	w.must(h.Inside(func() (err error) {
		ln, err = net.Listen("tcp", at)
		return err
	}))
	w.t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(c, c)
				_ = c.Close()
			}()
		}
	}()
}

// echoed says something to an address from a host and wants to hear it again.
func (w *wg) echoed(h *lab.Host, at string) error {
	ctx, cancel := context.WithTimeout(w.ctx, 3*time.Second)
	defer cancel()
	var c net.Conn
	err := h.Inside(func() (err error) {
		c, err = new(net.Dialer).DialContext(ctx, "tcp", at)
		return err
	})
	if err != nil {
		return err
	}
	defer c.Close()
	deadline, _ := ctx.Deadline()
	if err := c.SetDeadline(deadline); err != nil {
		return err
	}
	const words = "who is there?"
	if _, err := io.WriteString(c, words); err != nil {
		return err
	}
	b := make([]byte, len(words))
	if _, err := io.ReadFull(c, b); err != nil {
		return err
	}
	if string(b) != words {
		return errors.New("another answer")
	}
	return nil
}
