package uapi

import (
	"net/netip"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"
)

var (
	private = Key(filled(0x50)) // clamped
	peerA   = PublicKey(filled(1))
	peerB   = PublicKey(filled(2))
	peerC   = PublicKey(filled(3))
	psk     = Key(filled(9))
)

func TestWgShow(t *testing.T) {
	m := &memory{state: State{
		PrivateKey: private, ListenPort: 51820, FwMark: 0xca6c,
		Peers: []PeerState{
			{PublicKey: peerA, PresharedKey: psk, Endpoint: netip.MustParseAddrPort("[2001:db8::1]:1234"), PersistentKeepalive: 25,
				AllowedIPs: prefixes("10.0.0.0/8", "fd00::/64"), LastHandshake: time.Unix(1700000000, 5), RxBytes: 1 << 40, TxBytes: 77},
			{PublicKey: peerB, Endpoint: netip.MustParseAddrPort("192.0.2.1:9")},
		},
	}}
	w, _, r := newWg(t, m)
	want := strings.Join([]string{
		base64Of(private) + "\t" + private.public().String() + "\t51820\t0xca6c",
		peerA.String() + "\t" + base64Of(psk) + "\t[2001:db8::1]:1234\t10.0.0.0/8,fd00::/64\t1700000000\t1099511627776\t77\t25",
		peerB.String() + "\t(none)\t192.0.2.1:9\t(none)\t0\t0\t0\toff", "",
	}, "\n")
	if got := w.run("show", w.name, "dump"); got != want {
		t.Errorf("wg show dump:\n%s\nwant:\n%s", got, want)
	}
	if got := w.run("show", w.name); !strings.Contains(got, "1.00 TiB received, 77 B sent") || !strings.Contains(got, "every 25 seconds") {
		t.Errorf("wg show:\n%s", got)
	}
	if got := w.run("show", "interfaces"); !strings.Contains(got, w.name) {
		t.Errorf("wg show interfaces: %s", got)
	}
	wantConf := "[Interface]\nListenPort = 51820\nFwMark = 0xca6c\nPrivateKey = " + base64Of(private) +
		"\n\n[Peer]\nPublicKey = " + peerA.String() + "\nPresharedKey = " + base64Of(psk) +
		"\nAllowedIPs = 10.0.0.0/8, fd00::/64\nEndpoint = [2001:db8::1]:1234\nPersistentKeepalive = 25\n\n[Peer]\nPublicKey = " +
		peerB.String() + "\nEndpoint = 192.0.2.1:9\n"
	if got := strings.TrimRight(w.run("showconf", w.name), "\n") + "\n"; got != wantConf {
		t.Errorf("wg showconf:\n%s\nwant:\n%s", got, wantConf)
	}
	m.fail(syscall.EBUSY)
	if out, err := w.try("show", w.name); err == nil || !strings.Contains(out, "resource busy") {
		t.Errorf("wg show of a device that refuses: %v\n%s", err, out)
	}
	if !strings.Contains(r.String(), "get the interface's state") {
		t.Errorf("reported: %s", r)
	}
}

func TestWgSet(t *testing.T) {
	m := &memory{}
	w, _, r := newWg(t, m)
	w.run("set", w.name, "listen-port", "4500", "fwmark", "0x10", "private-key", w.file("key", base64Of(private)),
		"peer", peerA.String(), "preshared-key", w.file("psk", base64Of(psk)), "endpoint", "[::1]:7", "persistent-keepalive", "30",
		"allowed-ips", "10.0.0.0/8,fd00::/64,192.0.2.7",
		"peer", peerB.String(), "allowed-ips", "10.0.0.0/8", "endpoint", "127.0.0.1:8")
	want := State{PrivateKey: private, ListenPort: 4500, FwMark: 16, Peers: []PeerState{
		{PublicKey: peerA, PresharedKey: psk, Endpoint: netip.MustParseAddrPort("[::1]:7"), PersistentKeepalive: 30,
			AllowedIPs: prefixes("fd00::/64", "192.0.2.7/32")},
		{PublicKey: peerB, Endpoint: netip.MustParseAddrPort("127.0.0.1:8"), AllowedIPs: prefixes("10.0.0.0/8")},
	}}
	wantState(t, m, want)

	w.run("set", w.name, "fwmark", "off", "peer", peerA.String(), "persistent-keepalive", "off", "preshared-key", "/dev/null",
		"allowed-ips", "", "peer", peerB.String(), "remove", "peer", private.public().String(), "allowed-ips", "1.0.0.0/8")
	want.FwMark, want.Peers = 0, want.Peers[:1]
	want.Peers[0].PersistentKeepalive, want.Peers[0].PresharedKey, want.Peers[0].AllowedIPs = 0, Key{}, nil
	wantState(t, m, want)

	w.run("set", w.name, "private-key", "/dev/null", "listen-port", "0")
	want.PrivateKey, want.ListenPort = Key{}, 0
	wantState(t, m, want)

	m.fail(syscall.EADDRINUSE)
	if out, err := w.try("set", w.name, "listen-port", "53"); err == nil || !strings.Contains(out, "Address already in use") {
		t.Errorf("wg set of a port that is taken: %v\n%s", err, out)
	}
	m.fail(nil)
	wantState(t, m, want)
	if !strings.Contains(r.String(), "change the interface: address already in use") {
		t.Errorf("reported: %s", r)
	}
}

func TestWgConf(t *testing.T) {
	started := State{Peers: []PeerState{
		{PublicKey: peerA, LastHandshake: time.Unix(1e9, 0), RxBytes: 5, AllowedIPs: prefixes("10.0.0.0/8"),
			Endpoint: netip.MustParseAddrPort("192.0.2.1:1")},
		{PublicKey: peerB, AllowedIPs: prefixes("10.2.0.0/16")},
	}}
	conf := "[Interface]\nPrivateKey = " + base64Of(private) + "\nListenPort = 7\n[Peer]\nPublicKey = " + peerA.String() +
		"\nAllowedIPs = 10.2.0.0/16\n[Peer]\nPublicKey = " + peerC.String() + "\nPresharedKey = " + base64Of(psk) +
		"\nAllowedIPs = ::/0\nPersistentKeepalive = 5\nEndpoint = 127.0.0.1:9\n"
	third := PeerState{PublicKey: peerC, PresharedKey: psk, AllowedIPs: prefixes("::/0"), PersistentKeepalive: 5,
		Endpoint: netip.MustParseAddrPort("127.0.0.1:9")}

	// syncconf keeps the session of a peer that stays, setconf begins anew, addconf adds.
	m := &memory{state: started}
	w, _, _ := newWg(t, m)
	file := w.file("sync.conf", conf)
	w.run("syncconf", w.name, file)
	first := started.Peers[0]
	first.AllowedIPs = prefixes("10.2.0.0/16")
	wantState(t, m, State{PrivateKey: private, ListenPort: 7, Peers: []PeerState{first, third}})

	m.mu.Lock()
	m.state = started
	m.mu.Unlock()
	w.run("setconf", w.name, file)
	fresh := PeerState{PublicKey: peerA, AllowedIPs: prefixes("10.2.0.0/16")}
	wantState(t, m, State{PrivateKey: private, ListenPort: 7, Peers: []PeerState{fresh, third}})

	w.run("addconf", w.name, w.file("add.conf", "[Peer]\nPublicKey = "+peerB.String()+"\nAllowedIPs = ::/0, 10.9.0.0/16\n"))
	third.AllowedIPs = nil
	wantState(t, m, State{PrivateKey: private, ListenPort: 7, Peers: []PeerState{fresh, third,
		{PublicKey: peerB, AllowedIPs: prefixes("::/0", "10.9.0.0/16")}}})

	// What showconf prints is what setconf takes.
	before := w.run("showconf", w.name)
	w.run("setconf", w.name, w.file("again.conf", before))
	if after := w.run("showconf", w.name); after != before {
		t.Errorf("showconf after setconf of it:\n%s\nwas:\n%s", after, before)
	}
}

func wantState(t *testing.T, m *memory, want State) {
	t.Helper()
	got, err := m.Get()
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("state\n%+v\nwant\n%+v", got, want)
	}
}
