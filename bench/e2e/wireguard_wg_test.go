//go:build linux

package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/warrenvpn/warren"
	"github.com/warrenvpn/warren/bench/lab"
)

// wgOther is a wireguard-go of its own namespace, with an address behind it.
type wgOther struct {
	*lab.WireGuardGo
	host  *lab.Host
	key   lab.WireGuardKey
	inner []string
}

// other starts another peer, on a host of its own beyond b, with addresses behind it.
func (w *wg) other(name, outer string, inner ...string) *wgOther {
	w.t.Helper()
	h, err := w.lab.Host(name)
	w.must(err)
	dev := "to" + name
	w.must(w.lab.Connect(lab.Link{A: w.a, B: h, DevA: dev, AddrsA: []string{strings.Replace(outer, ".2/", ".1/", 1)}, AddrsB: []string{outer}}))
	o := &wgOther{host: h, inner: inner}
	o.key, err = lab.NewWireGuardKey()
	w.must(err)
	o.WireGuardGo, err = h.StartWireGuard(w.ctx, o.key, wgPort)
	w.must(err)
	for _, a := range inner {
		w.must(h.AddAddress(o.Device, a+"/32"))
	}
	at := strings.Replace(outer, ".2/24", ".1:51820", 1)
	w.must(o.AddPeer(w.ctx, lab.WireGuardPeer{Public: w.keys[0].Public, Endpoint: at, AllowedIPs: []string{"10.1.0.0/16"}}))
	return o
}

// wg runs wg(8) on ours.
func (w *wg) wg(stdin string, args ...string) string {
	w.t.Helper()
	out, err := w.a.RunInput(w.ctx, stdin, "wg", args...)
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

// onlyTo waits until the pings to an address arrive on a peer, and then counts those of others.
func (w *wg) onlyTo(dst string, o *wgOther) {
	w.t.Helper()
	w.reach(w.ia, dst)
	before := o.received(w)
	if !w.arrives(w.ia, dst) || o.received(w) == before {
		w.t.Errorf("what goes to %s does not go to host %s", dst, o.host.Name)
	}
}

// received is how many octets a peer has of us.
func (o *wgOther) received(w *wg) string {
	w.t.Helper()
	return strings.Fields(w.run(o.host, "wg", "show", o.Device, "transfer"))[1]
}

// refused waits until nothing more goes to an address.
func (w *wg) refused(dst string) {
	w.t.Helper()
	w.eventually("no way to "+dst, func() error {
		if w.arrives(w.ia, dst, "-W", "0.3") {
			return errors.New("it answers")
		}
		return nil
	})
}

// protected says whether the kernel refuses a prefix where no route of ours leads there.
func (w *wg) protected(prefix string, want bool) {
	w.t.Helper()
	out := w.run(w.ia, "ip", "route", "show", "type", "unreachable", prefix)
	if (out != "") != want {
		w.t.Errorf("%s is protected: %q, want %v", prefix, out, want)
	}
}

// TestWG: wg(8) shows a running engine and changes it, and what it changes takes effect on what goes through.
func TestWG(t *testing.T) {
	w := newWG(t)
	// Both have 10.9.0.1, so that it is the allowed addresses that choose.
	c, d := w.other("c", "198.51.100.2/24", "10.3.0.1", "10.9.0.1"), w.other("d", "203.0.113.2/24", "10.4.0.1", "10.9.0.1")
	w.startTheirs("")
	w.startOurs(w.config(lab.PairB4+":51820", "", ""))
	w.first(w.ia, "10.2.0.1")

	w.wgShows()
	w.wgPeers(c, d)
	w.wgSettings()
	w.wgFiles(c, d)
	w.stop()
}

// wgShows: show, dump and showconf tell what is.
func (w *wg) wgShows() {
	w.t.Helper()
	out := w.wg("", "show", w.device)
	for _, want := range []string{"interface: " + w.device, "public key: " + w.keys[0].Public, "private key: (hidden)", "listening port: 51820",
		"peer: " + w.keys[1].Public, "endpoint: 192.0.2.2:51820", "allowed ips: 0.0.0.0/0, ::/0", "latest handshake: ", "received, "} {
		if !strings.Contains(out, want) {
			w.t.Errorf("wg show has no %q:\n%s", want, out)
		}
	}
	dump := strings.Fields(w.wg("", "show", w.device, "dump"))
	if len(dump) != 12 || dump[0] != w.keys[0].Private || dump[4] != w.keys[1].Public || dump[11] != "off" {
		w.t.Errorf("wg show dump: %q", dump)
	}
	if all := w.wg("", "show", "interfaces"); !slices.Contains(strings.Fields(all), w.device) {
		w.t.Errorf("wg show interfaces: %s", all)
	}
	conf := w.wg("", "showconf", w.device)
	for _, want := range []string{"ListenPort = 51820", "PrivateKey = " + w.keys[0].Private, "PublicKey = " + w.keys[1].Public, "Endpoint = 192.0.2.2:51820"} {
		if !strings.Contains(conf, want) {
			w.t.Errorf("wg showconf has no %q:\n%s", want, conf)
		}
	}
}

// wgPeers: peers that come by wg(8) have their allowed addresses as routes, which move from one to the other. The configuration's own
// peer keeps its routes whatever it is allowed, which only filters.
func (w *wg) wgPeers(c, d *wgOther) {
	w.t.Helper()
	w.wg("", "set", w.device, "peer", c.key.Public, "endpoint", "198.51.100.2:51820", "allowed-ips", "10.3.0.0/16,10.9.0.0/16")
	w.wg("", "set", w.device, "peer", d.key.Public, "endpoint", "203.0.113.2:51820", "allowed-ips", "10.4.0.0/16", "persistent-keepalive", "25")
	w.onlyTo("10.3.0.1", c)
	w.onlyTo("10.9.0.1", c)
	w.onlyTo("10.4.0.1", d)
	w.protected("10.4.0.0/16", true)

	// 10.9.0.0/16 goes over to d, and then a part of it back to c.
	w.wg("", "set", w.device, "peer", d.key.Public, "allowed-ips", "10.4.0.0/16,10.9.0.0/16")
	w.onlyTo("10.9.0.1", d)
	if got := w.wg("", "show", w.device, "allowed-ips"); !strings.Contains(got, c.key.Public+"\t10.3.0.0/16\n") {
		w.t.Errorf("the prefix did not move:\n%s", got)
	}
	w.wg("", "set", w.device, "peer", c.key.Public, "allowed-ips", "10.3.0.0/16,10.9.0.1/32")
	w.onlyTo("10.9.0.1", c)
	// The peer of the configuration has ours by its route, and is not asked for what it is allowed.
	w.first(w.ia, "10.2.0.1")
	w.wg("", "set", w.device, "peer", w.keys[1].Public, "allowed-ips", "10.77.0.0/16")
	w.refused("10.2.0.1")
	if out := w.run(w.ia, "ip", "route", "show", "10.77.0.0/16"); out != "" {
		w.t.Errorf("a filter became a route: %s", out)
	}
	if w.tunnel("peer").Drops["selector_in"] == 0 {
		w.t.Errorf("not dropped by the filter: %v", w.tunnel("peer").Drops)
	}
	w.wg("", "set", w.device, "peer", w.keys[1].Public, "allowed-ips", "10.2.0.0/16,fd02::/64")
	w.first(w.ia, "10.2.0.1")

	w.wg("", "set", w.device, "peer", d.key.Public, "remove")
	w.refused("10.4.0.1")
	w.protected("10.4.0.0/16", false)
	w.protected("10.3.0.0/16", true)
	if st, err := w.client.Status(w.ctx); err != nil || len(st.Tunnels) != 2 {
		w.t.Errorf("%d tunnels: %v", len(st.Tunnels), err)
	}
	w.first(w.ia, "10.3.0.1")
}

// wgSettings: the port, the mark and the key change while packets go.
func (w *wg) wgSettings() {
	w.t.Helper()
	w.wg("", "set", w.device, "listen-port", "51999")
	w.first(w.ia, "10.2.0.1")
	if at := w.run(w.b, "wg", "show", w.peer.Device, "endpoints"); !strings.Contains(at, lab.PairA4+":51999") {
		w.t.Errorf("the peer sees us at %s", at)
	}
	// Nothing is used up.
	w.run(w.a, "sh", "-ec", fmt.Sprintf("for port in $(seq 52000 52149) 51999; do wg set %s listen-port $port; done", w.device))
	w.first(w.ia, "10.2.0.1")
	// A port that is taken is refused, and nothing changes.
	taken := w.listen(w.a, "0.0.0.0:51998")
	if _, err := w.a.Run(w.ctx, "wg", "set", w.device, "listen-port", "51998"); err == nil {
		w.t.Error("a port that another program has was accepted")
	}
	_ = taken.Close()
	w.first(w.ia, "10.2.0.1")

	// With the mark, packets take the way that the host's rules have for it: into nothing.
	w.must(w.a.IP("rule", "add", "fwmark", "77", "prohibit"))
	w.wg("", "set", w.device, "fwmark", "77")
	w.refused("10.2.0.1")
	w.wg("", "set", w.device, "fwmark", "0")
	w.reach(w.ia, "10.2.0.1")

	// Another key: who knows it has a session with it, and c has not.
	key, err := lab.NewWireGuardKey()
	w.must(err)
	w.wg(key.Private, "set", w.device, "private-key", "/dev/stdin")
	w.must(w.peer.AddPeer(w.ctx, lab.WireGuardPeer{Public: key.Public, Endpoint: lab.PairA4 + ":51999", AllowedIPs: []string{"10.1.0.0/16", "fd01::/64"}}))
	w.reach(w.ia, "10.2.0.1")
	w.refused("10.3.0.1")
	w.wg(w.keys[0].Private, "set", w.device, "private-key", "/dev/stdin")
	w.reach(w.ia, "10.3.0.1")
	w.run(w.b, "wg", "set", w.peer.Device, "peer", key.Public, "remove")
	w.must(w.peer.AddPeer(w.ctx, lab.WireGuardPeer{Public: w.keys[0].Public, Endpoint: lab.PairA4 + ":51999", AllowedIPs: []string{"10.1.0.0/16", "fd01::/64"}}))
	w.reach(w.ia, "10.2.0.1")
}

// wgFiles: syncconf changes what differs and leaves sessions alone, addconf adds, setconf replaces all.
func (w *wg) wgFiles(c, d *wgOther) {
	w.t.Helper()
	file := func(text string) string {
		path := filepath.Join(w.dir, "sync.conf")
		w.must(os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	head := fmt.Sprintf("[Interface]\nPrivateKey = %s\nListenPort = 51999\n", w.keys[0].Private)
	peer := func(key, endpoint, allowed string) string {
		return fmt.Sprintf("[Peer]\nPublicKey = %s\nEndpoint = %s:51820\nAllowedIPs = %s\n", key, endpoint, allowed)
	}
	ours := peer(w.keys[1].Public, lab.PairB4, "10.2.0.0/16, fd02::/64")
	cs, ds := peer(c.key.Public, "198.51.100.2", "10.3.0.0/16, 10.9.0.0/16"), peer(d.key.Public, "203.0.113.2", "10.4.0.0/16")

	before := w.tunnelOf(c).WireGuard.LastHandshake
	w.wg("", "syncconf", w.device, file(head+ours+cs+ds))
	w.first(w.ia, "10.3.0.1")
	if after := w.tunnelOf(c).WireGuard.LastHandshake; !after.Equal(before) {
		w.t.Error("syncconf broke a session that did not change")
	}
	w.reach(w.ia, "10.4.0.1")
	w.wg("", "syncconf", w.device, file(head+ours+ds))
	w.refused("10.3.0.1")
	w.wg("", "addconf", w.device, file(cs))
	w.reach(w.ia, "10.3.0.1")
	w.wg("", "setconf", w.device, file(head+ours+cs))
	w.reach(w.ia, "10.2.0.1")
	w.reach(w.ia, "10.3.0.1")
	w.refused("10.4.0.1")
	// What wg(8) shows, it takes again.
	w.wg("", "setconf", w.device, file(w.wg("", "showconf", w.device)))
	w.reach(w.ia, "10.3.0.1")
}

// tunnelOf is the tunnel of a peer that came by wg(8).
func (w *wg) tunnelOf(o *wgOther) (found warren.TunnelStatus) {
	w.t.Helper()
	st, err := w.client.Status(w.ctx)
	w.must(err)
	for _, t := range st.Tunnels {
		if t.WireGuard != nil && t.WireGuard.PublicKey == o.key.Public {
			return t
		}
	}
	w.t.Fatalf("no tunnel has the key of host %s", o.host.Name)
	return found
}
