package message

import (
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func between(first, last string) TrafficSelector {
	return TrafficSelector{EndPort: 65535, Start: netip.MustParseAddr(first), End: netip.MustParseAddr(last)}
}

func TestSelectorPrefixes(t *testing.T) {
	for _, c := range []struct {
		first, last, prefixes string
	}{
		{"10.0.0.0", "10.255.255.255", "10.0.0.0/8"},
		{"0.0.0.0", "255.255.255.255", "0.0.0.0/0"},
		{"255.255.255.255", "255.255.255.255", "255.255.255.255/32"},
		{"192.0.2.1", "192.0.2.6", "192.0.2.1/32 192.0.2.2/31 192.0.2.4/31 192.0.2.6/32"},
		{"255.255.255.254", "255.255.255.255", "255.255.255.254/31"},
		{"::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "::/0"},
		{"2001:db8::", "2001:db8:0:0:ffff:ffff:ffff:ffff", "2001:db8::/64"},
		{"2001:db8::", "2001:db8:0:1:8000::", "2001:db8::/64 2001:db8:0:1::/65 2001:db8:0:1:8000::/128"},
		{"::ffff:10.0.0.0", "::ffff:10.0.0.255", "::ffff:10.0.0.0/120"},
	} {
		s := between(c.first, c.last)
		var words []string
		for _, p := range s.Prefixes() {
			words = append(words, p.String())
		}
		if got := strings.Join(words, " "); got != c.prefixes {
			t.Errorf("%s to %s: %s, want %s", c.first, c.last, got, c.prefixes)
		}
		p, ok := s.Prefix()
		if ok != (len(words) == 1) || ok && p.String() != c.prefixes {
			t.Errorf("%s to %s is the prefix %v: %v", c.first, c.last, p, ok)
		}
		if ok && SelectorOf(p) != s {
			t.Errorf("%v is %v, want %v", p, SelectorOf(p), s)
		}
	}
	worst := between("::1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe")
	if n := len(worst.Prefixes()); n != 254 {
		t.Errorf("the worst range of IPv6 has %d prefixes, want 254", n)
	}
	if n := len(between("0.0.0.1", "255.255.255.254").Prefixes()); n != 62 {
		t.Errorf("the worst range of IPv4 has %d prefixes, want 62", n)
	}
	for _, bad := range []TrafficSelector{{}, between("10.0.0.2", "10.0.0.1"), between("10.0.0.1", "::1"), {Unknown: &UnknownSelector{}}} {
		if _, ok := bad.Prefix(); ok || bad.Prefixes() != nil {
			t.Errorf("%v has prefixes", bad)
		}
	}
}

// slowPrefixes is the model: it tries every length at every address.
func slowPrefixes(first, last netip.Addr) []netip.Prefix {
	var all []netip.Prefix
	for a := first; ; {
		for n := 0; ; n++ {
			p := netip.PrefixFrom(a, n)
			if p.Masked().Addr() != a {
				continue
			}
			end := a
			for end != last && p.Contains(end.Next()) {
				end = end.Next()
			}
			if p.Contains(end) && !p.Contains(end.Next()) {
				all, a = append(all, p), end.Next()
				if end == last {
					return all
				}
				break
			}
		}
	}
}

// TestSelectorPrefixesModel compares with the model, near the ends of the address space as well.
func TestSelectorPrefixesModel(t *testing.T) {
	g := seeded(t)
	for range 3000 {
		var first netip.Addr
		switch g.IntN(3) {
		case 0:
			first = g.addr(true)
		case 1:
			first = g.addr(false)
		case 2:
			b := g.bytes(16, 16)
			for i := range 14 {
				b[i] = pick[byte](g, 0xff, 0xff, 0)
			}
			first = netip.AddrFrom16([16]byte(b))
		}
		last := first
		for range g.IntN(300) {
			if next := last.Next(); next.IsValid() {
				last = next
			}
		}
		s := TrafficSelector{Start: first, End: last}
		want := slowPrefixes(first, last)
		if got := s.Prefixes(); !slices.Equal(got, want) {
			t.Fatalf("%v to %v: got %v, want %v", first, last, got, want)
		}
		if p, ok := s.Prefix(); ok != (len(want) == 1) || ok && p != want[0] {
			t.Fatalf("%v to %v: prefix %v %v, want %v", first, last, p, ok, want)
		}
	}
}

func TestSelectorString(t *testing.T) {
	tcp := between("10.0.0.0", "10.0.0.255")
	tcp.Protocol, tcp.StartPort, tcp.EndPort = 6, 80, 80
	ports := tcp
	ports.EndPort = 90
	opaque := tcp
	opaque.StartPort, opaque.EndPort = 65535, 0
	esp := between("10.0.0.1", "10.0.0.5")
	esp.Protocol = 50
	for want, s := range map[string]TrafficSelector{
		"10.0.0.0/24[6/80]": tcp, "10.0.0.0/24[6/80-90]": ports, "10.0.0.0/24[6/OPAQUE]": opaque,
		"10.0.0.1..10.0.0.5[50]": esp, "::1/128": between("::1", "::1"),
		"traffic selector type 9": {Unknown: &UnknownSelector{Type: 9}},
	} {
		if s.String() != want {
			t.Errorf("got %v, want %s", s, want)
		}
	}
	prefixes := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32")}
	if got := PrefixesOf(SelectorsOf(prefixes)); !slices.Equal(got, prefixes) {
		t.Errorf("%v came back as %v", prefixes, got)
	}
}

func TestConfig(t *testing.T) {
	v4, v6 := netip.MustParseAddr("10.1.0.7"), netip.MustParsePrefix("2001:db8::7/64")
	want := &CP{Type: ConfigReply, Attributes: []ConfigAttribute{
		ConfigAddr(InternalIP4Address, v4), ConfigNetmask(20), ConfigAddr(InternalIP4DNS, v4), ConfigAddr(InternalIP6DNS, v6.Addr()),
		ConfigPrefix(InternalIP6Address, v6), ConfigPrefix(InternalIP4Subnet, netip.MustParsePrefix("10.2.0.0/15")),
		ConfigPrefix(InternalIP6Subnet, v6.Masked()), ConfigAddr(InternalIP4DNS, v4.Next()),
	}}
	b, err := AppendPayloads(nil, []Payload{want})
	if err != nil {
		t.Fatal(err)
	}
	payloads, err := ParsePayloads(PayloadCP, b)
	if err != nil || !reflect.DeepEqual(payloads, []Payload{want}) {
		t.Fatalf("%+v, %v", payloads, err)
	}
	c := payloads[0].(*CP)
	for _, i := range []int{0, 2} {
		if a, ok := c.Attributes[i].Addr(); !ok || a != v4 {
			t.Errorf("attribute %d is %v, %v", i, a, ok)
		}
	}
	if n, ok := c.Attributes[1].Netmask(); !ok || n != 20 {
		t.Errorf("netmask /%d, %v", n, ok)
	}
	for i, text := range map[int]string{4: "2001:db8::7/64", 5: "10.2.0.0/15", 6: "2001:db8::/64"} {
		if p, ok := c.Attributes[i].Prefix(); !ok || p.String() != text {
			t.Errorf("attribute %d is %v, %v, want %s", i, p, ok, text)
		}
	}
	if a, ok := c.Attributes[4].Addr(); !ok || a != v6.Addr() {
		t.Errorf("INTERNAL_IP6_ADDRESS is %v, %v", a, ok)
	}
	if dns := c.Attrs(InternalIP4DNS); len(dns) != 2 {
		t.Errorf("DNS servers %v", dns)
	}
	for _, a := range []ConfigAttribute{
		{Type: InternalIP4Subnet, Value: []byte{10, 0, 0, 0, 255, 0, 255, 0}}, {Type: InternalIP4Subnet},
		{Type: InternalIP6Subnet, Value: append(zeros(16), 129)}, {Type: InternalIP6Address}, {Type: InternalIP4DNS},
	} {
		if p, ok := a.Prefix(); ok {
			t.Errorf("%+v is the prefix %v", a, p)
		}
		if p, ok := a.Addr(); ok {
			t.Errorf("%+v is the address %v", a, p)
		}
	}
	if _, ok := (ConfigAttribute{Type: InternalIP4Netmask, Value: []byte{255, 0, 255, 0}}).Netmask(); ok {
		t.Error("255.0.255.0 is a netmask")
	}
}

func TestIDString(t *testing.T) {
	dn := []byte{0x30, 0x1f, 0x31, 0x0b, 0x30, 0x09, 6, 3, 0x55, 4, 6, 0x13, 2, 'C', 'H', 0x31, 0x10, 0x30, 0x0e, 6, 3, 0x55, 4, 3,
		0x0c, 7, 'm', 'o', 0x1b, 'n', '.', 0xc3, 0xa4}
	for _, c := range []struct {
		id   ID
		want string
	}{
		{IDOfAddr(netip.MustParseAddr("192.0.2.1")), "192.0.2.1"},
		{IDOfAddr(netip.MustParseAddr("::ffff:192.0.2.1")), "192.0.2.1"},
		{IDOfAddr(netip.MustParseAddr("fe80::1%eth0")), "fe80::1"},
		{ID{Type: IDFQDN, Data: []byte("moon.example")}, "moon.example"},
		{ID{Type: IDFQDN, Data: []byte("moon\x1b[2J")}, `"moon\x1b[2J"`},
		{ID{Type: IDFQDN}, `""`},
		{ID{Type: IDRFC822Addr, Data: []byte("a@example")}, "a@example"},
		{ID{Type: IDKeyID, Data: []byte("key")}, "key"},
		{ID{Type: IDKeyID, Data: []byte{0, 0xff}}, "ID_KEY_ID:00ff"},
		{ID{Type: IDDERASN1DN, Data: dn}, `C=CH, CN=mo\x1bn.\u00e4`},
		{ID{Type: IDDERASN1DN, Data: dn[:9]}, "ID_DER_ASN1_DN:301f310b3009060355"},
		{ID{Type: IDNull}, "ID_NULL"},
		{ID{Type: 99, Data: []byte{1}}, "identity type 99:01"},
	} {
		if got := c.id.String(); got != c.want {
			t.Errorf("got %s, want %s", got, c.want)
		}
	}
	a, b := IDOfAddr(netip.MustParseAddr("192.0.2.1")), ID{Type: IDIPv4Addr, Data: []byte{192, 0, 2, 1}, reserved: [3]byte{1}}
	if !a.Equal(b) || a.Equal(ID{Type: IDKeyID, Data: a.Data}) {
		t.Error("identities compare wrong")
	}
}
