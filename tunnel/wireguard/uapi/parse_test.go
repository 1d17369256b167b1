package uapi

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"syscall"
	"testing"
)

func linesOf(text string) *lines {
	return &lines{r: bufio.NewReaderSize(strings.NewReader(text), 16<<10), number: 1}
}

// The "set" request of the protocol's description, https://www.wireguard.com/xplatform/.
const published = `private_key=e84b5a6d2717c1003a13b431570353dbaca9146cf150c5f8575680feba52027a
fwmark=0
listen_port=12912
replace_peers=true
public_key=b85996fecc9c7f1fc6d2572a76eda11d59bcd20be8e543b15ce4bd85a8e75a33
preshared_key=188515093e952f5f22e865cef3012e72f8b5f0b598ac0309d5dacce3b70fcf52
replace_allowed_ips=true
allowed_ip=192.168.4.4/32
endpoint=[abcd:23::33%2]:51820
public_key=58402e695ba1772b1cc9309755f043251ea77fdcf10fbe63989ceb7e19321376
replace_allowed_ips=true
allowed_ip=192.168.4.6/32
persistent_keepalive_interval=111
endpoint=182.122.22.19:3233
public_key=662e14fd594556f522604703340351258903b64f35553763f19426ab2a515c58
endpoint=5.152.198.39:51820
replace_allowed_ips=true
allowed_ip=192.168.4.10/32
allowed_ip=192.168.4.11/32
public_key=e818b58db5274087fcc1be5dc728cf53d3b5726b4cef6b9bab8f8f8c2452c25c
remove=true

`

func key(t *testing.T, text string) [32]byte {
	t.Helper()
	k, ok := parseKey(text)
	if !ok {
		t.Fatalf("%s is not a key", text)
	}
	return k
}

func TestParsePublished(t *testing.T) {
	got, err := readChange(linesOf(published))
	if err != nil {
		t.Fatal(err)
	}
	private := Key(key(t, "e84b5a6d2717c1003a13b431570353dbaca9146cf150c5f8575680feba52027a"))
	shared := Key(key(t, "188515093e952f5f22e865cef3012e72f8b5f0b598ac0309d5dacce3b70fcf52"))
	port, mark, seconds := uint16(12912), uint32(0), uint16(111)
	want := Change{PrivateKey: &private, ListenPort: &port, FwMark: &mark, ReplacePeers: true, Peers: []PeerChange{
		{PublicKey: key(t, "b85996fecc9c7f1fc6d2572a76eda11d59bcd20be8e543b15ce4bd85a8e75a33"), PresharedKey: &shared,
			ReplaceAllowedIPs: true, AllowedIPs: []AllowedIP{{Prefix: netip.MustParsePrefix("192.168.4.4/32")}},
			Endpoint: netip.MustParseAddrPort("[abcd:23::33%2]:51820")},
		{PublicKey: key(t, "58402e695ba1772b1cc9309755f043251ea77fdcf10fbe63989ceb7e19321376"), PersistentKeepalive: &seconds,
			ReplaceAllowedIPs: true, AllowedIPs: []AllowedIP{{Prefix: netip.MustParsePrefix("192.168.4.6/32")}},
			Endpoint: netip.MustParseAddrPort("182.122.22.19:3233")},
		{PublicKey: key(t, "662e14fd594556f522604703340351258903b64f35553763f19426ab2a515c58"), ReplaceAllowedIPs: true,
			AllowedIPs: []AllowedIP{{Prefix: netip.MustParsePrefix("192.168.4.10/32")}, {Prefix: netip.MustParsePrefix("192.168.4.11/32")}},
			Endpoint:   netip.MustParseAddrPort("5.152.198.39:51820")},
		{PublicKey: key(t, "e818b58db5274087fcc1be5dc728cf53d3b5726b4cef6b9bab8f8f8c2452c25c"), Remove: true},
	}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestParseMistakes(t *testing.T) {
	k := strings.Repeat("ab", 32)
	peer := "public_key=" + k + "\n"
	cases := []struct {
		request string
		errno   syscall.Errno
		text    string
	}{
		{"nonsense\n", syscall.EPROTO, "line 2 of the request: a line without \"=\"; want KEY=VALUE"},
		{"private_key=" + k + "0\n", syscall.EINVAL, "line 2 of the request: private_key: not a value for it; want 64 hexadecimal digits, all 0 for none"},
		{"private_key=" + k[:63] + "g\n", syscall.EINVAL, "private_key"},
		{"listen_port=65536\n", syscall.EINVAL, "listen_port"},
		{"listen_port=-1\n", syscall.EINVAL, "listen_port"},
		{"fwmark=4294967296\n", syscall.EINVAL, "fwmark"},
		{"fwmark=0x1\n", syscall.EINVAL, "fwmark"},
		{"replace_peers=1\n", syscall.EINVAL, "replace_peers"},
		{"endpoint=1.1.1.1:1\n", syscall.EINVAL, "line 2 of the request: no such key here"},
		{"public_key=" + k[1:] + "\n", syscall.EINVAL, "public_key"},
		{peer + "listen_port=1\n", syscall.EINVAL, "line 3 of the request: no such key here; want a key of a peer"},
		{peer + "remove=\n", syscall.EINVAL, "remove"},
		{peer + "update_only=yes\n", syscall.EINVAL, "update_only"},
		{peer + "preshared_key=\n", syscall.EINVAL, "preshared_key"},
		{peer + "endpoint=host:1\n", syscall.EINVAL, "endpoint"},
		{peer + "endpoint=1.1.1.1\n", syscall.EINVAL, "endpoint"},
		{peer + "endpoint=1.1.1.1:0\n", syscall.EINVAL, "endpoint"},
		{peer + "endpoint=::1:1\n", syscall.EINVAL, "endpoint"},
		{peer + "persistent_keepalive_interval=65536\n", syscall.EINVAL, "persistent_keepalive_interval"},
		{peer + "persistent_keepalive_interval=off\n", syscall.EINVAL, "persistent_keepalive_interval"},
		{peer + "replace_allowed_ips=false\n", syscall.EINVAL, "replace_allowed_ips"},
		{peer + "allowed_ip=1.1.1.1\n", syscall.EINVAL, "allowed_ip"},
		{peer + "allowed_ip=--1.1.1.1/32\n", syscall.EINVAL, "allowed_ip"},
		{peer + "allowed_ip=1.1.1.1/33\n", syscall.EINVAL, "allowed_ip"},
		{peer + "protocol_version=2\n", syscall.EINVAL, "protocol_version"},
		{peer + "rx_bytes=2\n", syscall.EINVAL, "no such key here"},
	}
	for _, c := range cases {
		l := linesOf(c.request + "allowed_ip=rest\n\nnext")
		got, err := readChange(l)
		var wrong *RequestError
		if !errors.As(err, &wrong) || wrong.Errno != c.errno || !errors.Is(err, c.errno) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%q: %v, want %v with %q", c.request, err, c.errno, c.text)
			continue
		}
		if strings.Contains(err.Error(), k[:16]) {
			t.Errorf("%q: the error shows a key: %v", c.request, err)
		}
		if !reflect.DeepEqual(got, Change{}) {
			t.Errorf("%q: a wrong request gives a change", c.request)
		}
		if rest, err := l.r.ReadString(0); rest != "next" {
			t.Errorf("%q: after it stands %q, %v; want it read to its end", c.request, rest, err)
		}
	}
}

func TestParseEdges(t *testing.T) {
	k := strings.Repeat("00", 32)
	c, err := readChange(linesOf("private_key=" + strings.Repeat("ff", 32) + "\npublic_key=" + k + "\nallowed_ip=10.1.2.3/8\nreplace_allowed_ips=true\n" +
		"allowed_ip=-10.1.2.3/8\nendpoint=[::ffff:192.0.2.1]:5\nprotocol_version=1\npreshared_key=" + k + "\n\n"))
	if err != nil {
		t.Fatal(err)
	}
	if *c.PrivateKey != Key(filled(0xff)).clamp() {
		t.Error("a private key is not clamped")
	}
	want := PeerChange{ReplaceAllowedIPs: true, AllowedIPs: []AllowedIP{{netip.MustParsePrefix("10.0.0.0/8"), true}},
		Endpoint: netip.MustParseAddrPort("192.0.2.1:5"), PresharedKey: &Key{}}
	if !reflect.DeepEqual(c.Peers[0], want) {
		t.Errorf("got %+v, want %+v", c.Peers[0], want)
	}
	for _, text := range []string{"", "listen_port=1", "listen_port=1\n", "bad\nlisten_port=1\n"} {
		if _, err := readChange(linesOf(text)); !errors.As(err, new(*connError)) {
			t.Errorf("%q, cut off: %v", text, err)
		}
	}
	for _, text := range []string{strings.Repeat("x", maxLine+1) + "\n", strings.Repeat("x", 1<<20), "bad\n" + strings.Repeat("x", 1<<20)} {
		if _, err := readChange(linesOf(text)); !errors.Is(err, errTooLarge) {
			t.Errorf("a long line: %v", err)
		}
	}
	if _, err := readChange(&lines{r: bufio.NewReader(endless{})}); !errors.Is(err, errTooLarge) {
		t.Errorf("an endless request: %v", err)
	}
}

// endless is one good line again and again, a long one so that it is not read too often.
type endless struct{}

func (endless) Read(b []byte) (int, error) {
	line := "fwmark=" + strings.Repeat("0", maxLine-10) + "1\n"
	n := 0
	for len(b)-n >= len(line) {
		n += copy(b[n:], line)
	}
	return n, nil
}

func TestKeysDoNotPrint(t *testing.T) {
	k := Key(filled(0xab))
	printed := fmt.Sprintf("%v %+v %#v %x %d %s", k, State{PrivateKey: k}, Change{PrivateKey: &k, Peers: []PeerChange{{PresharedKey: &k}}},
		k, []Key{k}, &k)
	text, err := k.MarshalText()
	if printed += string(text); err != nil || strings.Contains(printed, "abab") || strings.Contains(printed, "171 171") || strings.Contains(printed, "0xab, ") {
		t.Errorf("a secret in %s", printed)
	}
}

// FuzzReadChange: no request makes it panic, and one that is taken can be applied, printed, and read again as the state it made.
func FuzzReadChange(f *testing.F) {
	f.Add([]byte(published))
	f.Add([]byte("public_key=" + strings.Repeat("ab", 32) + "\nallowed_ip=-::ffff:1.2.3.4/120\nallowed_ip=::ffff:1.2.3.4/100\nupdate_only=true\n\n"))
	f.Add([]byte("listen_port=1\nbad\n\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := readChange(&lines{r: bufio.NewReaderSize(bytes.NewReader(data), 16<<10)})
		if err != nil {
			return
		}
		s := State{}.Apply(c)
		var lines []string
		for line := range strings.Lines(string(s.append(nil))) {
			if name, _, _ := strings.Cut(line, "="); !strings.HasPrefix(name, "last_handshake") && !strings.HasSuffix(name, "_bytes") {
				lines = append(lines, line)
			}
		}
		again, err := readChange(linesOf(strings.Join(lines, "") + "\n"))
		if err != nil {
			t.Fatalf("what was printed is refused: %v", err)
		}
		if got := (State{}).Apply(again); !bytes.Equal(got.append(nil), s.append(nil)) {
			t.Fatalf("printed and read again:\n%s\nwas\n%s", got.append(nil), s.append(nil))
		}
	})
}
