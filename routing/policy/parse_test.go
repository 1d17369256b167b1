package policy

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/warrenvpn/warren/routing/route"
)

func TestPrefixRanges(t *testing.T) {
	for s, want := range map[string]struct{ string, in, out string }{
		"10.0.0.0/8":             {"10.0.0.0/8", "10.0.0.0/8", "10.0.0.0/9 10.0.0.0/7 0.0.0.0/0 a00::/8"},
		"10.0.0.0/8+":            {"10.0.0.0/8+", "10.0.0.0/8 10.255.0.0/16 10.1.2.3/32", "11.0.0.0/8 8.0.0.0/7 ::/0"},
		"10.0.0.0/8-":            {"10.0.0.0/8-", "10.0.0.0/8 8.0.0.0/5 0.0.0.0/0", "10.0.0.0/9 16.0.0.0/5 11.0.0.0/8"},
		"10.0.0.0/8{16,24}":      {"10.0.0.0/8{16,24}", "10.1.0.0/16 10.1.1.0/24", "10.0.0.0/8 10.0.0.0/15 10.0.0.0/25 11.1.0.0/16"},
		"10.0.0.0/8{ 4 , 9 }":    {"10.0.0.0/8{4,9}", "0.0.0.0/4 10.128.0.0/9", "0.0.0.0/3 10.0.0.0/10 16.0.0.0/4 11.0.0.0/9"},
		"10.0.0.0/8 le 24":       {"10.0.0.0/8{8,24}", "10.0.0.0/8 10.1.1.0/24", "10.1.1.0/25 11.0.0.0/24"},
		"10.0.0.0/8 ge 16":       {"10.0.0.0/8{16,32}", "10.1.0.0/16 10.1.1.1/32", "10.0.0.0/8 10.0.0.0/15"},
		" 10.0.0.0/8 le 24 ge 9": {"10.0.0.0/8{9,24}", "10.0.0.0/9 10.1.1.0/24", "10.0.0.0/8 10.1.1.0/25"},
		"::/0+":                  {"::/0+", "::/0 2001:db8::/32 ::1/128", "0.0.0.0/0 10.0.0.0/8"},
		"2001:DB8::/32 le 48":    {"2001:db8::/32{32,48}", "2001:db8::/32 2001:db8:1::/48", "2001:db8:1::/49 2001:db9::/32"},
		"0.0.0.0/0 le 32":        {"0.0.0.0/0+", "0.0.0.0/0 1.2.3.4/32", "::/0"},
	} {
		r, err := ParsePrefixRange(s)
		if err != nil || r.String() != want.string {
			t.Errorf("%q reads as %v, %v, want %s", s, r, err, want.string)
			continue
		}
		for _, p := range strings.Fields(want.in) {
			if !r.Matches(netip.MustParsePrefix(p)) {
				t.Errorf("%q does not match %s", s, p)
			}
		}
		for _, p := range strings.Fields(want.out) {
			if r.Matches(netip.MustParsePrefix(p)) {
				t.Errorf("%q matches %s", s, p)
			}
		}
	}
	for s, want := range map[string]string{
		"":                         "want a prefix",
		"10.0.0.0":                 "want a prefix",
		"10.0.0.0/33":              "want a prefix",
		"eth0+":                    "want a prefix",
		"::ffff:10.0.0.0/104":      "write it as IPv4",
		"10.0.0.1/8+":              "want 10.0.0.0/8",
		"10.0.0.0/8++":             "want ge",
		"10.0.0.0/8{16}":           "want two lengths",
		"10.0.0.0/8{16,24":         "want two lengths",
		"10.0.0.0/8{16,24}+":       "want two lengths",
		"10.0.0.0/8{24,16}":        "want them to rise",
		"10.0.0.0/8{16,33}":        "at most 32",
		"10.0.0.0/8{a,24}":         `length "a"`,
		"10.0.0.0/8 le":            "want ge",
		"10.0.0.0/8 le 24 le 25":   "want ge",
		"10.0.0.0/8 upto 24":       "want ge",
		"10.0.0.0/8 le 7":          "below the prefix's own, 8",
		"10.0.0.0/8 ge 0":          "below the prefix's own, 8",
		"10.0.0.0/8 le 300":        `length "300"`,
		"10.0.0.0/8 ge 24 le 16":   "want them to rise",
		"2001:db8::/32 ge 64 le x": `length "x"`,
	} {
		if r, err := ParsePrefixRange(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q reads as %v, %v, want an error with %q", s, r, err, want)
		}
	}
}

// A long list is searched otherwise than a short one, and must find the same.
func TestLongPrefixLists(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	random := func() netip.Prefix {
		if r.IntN(2) == 0 {
			return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(r.IntN(4)) << 6}), r.IntN(33)).Masked()
		}
		return netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, byte(r.IntN(4)) << 6}), r.IntN(20)).Masked()
	}
	found := 0
	for range 300 {
		ranges := make([]PrefixRange, manyRanges+r.IntN(8))
		for i := range ranges {
			base := random()
			low := r.IntN(base.Addr().BitLen() + 1)
			ranges[i] = PrefixRange{Base: base, Low: low, High: low + r.IntN(base.Addr().BitLen()+1-low)}
		}
		list := newPrefixList(ranges)
		for range 50 {
			p, want := random(), false
			for _, x := range ranges {
				want = want || slowMatch(x, p)
			}
			if got := list.has(p); got != want {
				t.Fatalf("%v: found %v, want %v in %v", p, got, want, ranges)
			}
			if want {
				found++
			}
		}
	}
	if found < 1000 || found > 14000 {
		t.Errorf("%d of 15000 found: the test decides nothing", found)
	}
}

// slowMatch is BIRD's definition: the length is between the two, and as many bits are equal as both have.
func slowMatch(r PrefixRange, p netip.Prefix) bool {
	if r.Base.Addr().BitLen() != p.Addr().BitLen() || p.Bits() < r.Low || p.Bits() > r.High {
		return false
	}
	a, b := r.Base.Addr().AsSlice(), p.Addr().AsSlice()
	for i := range min(r.Base.Bits(), p.Bits()) {
		if (a[i/8]^b[i/8])>>(7-i%8)&1 != 0 {
			return false
		}
	}
	return true
}

func TestCommunities(t *testing.T) {
	for s, want := range map[string]string{
		"65001:100": "65001:100", "0:0": "0:0", "*:1": "*:1", "4294967295:0:*": "4294967295:0:*", "65535:666": "blackhole",
		"No_Advertise": "no-advertise", "65535:65281": "no-export", " 1:2 ": "1:2", "*:*:*": "*:*:*",
	} {
		if c, err := ParseCommunity(s); err != nil || c.String() != want || c.Exact() == strings.Contains(want, "*") {
			t.Errorf("%q reads as %v, %v, want %s", s, c, err, want)
		}
	}
	for _, s := range []string{"", "1", "65536:1", "1:65536", "1:2:3:4", "1:-2", "+1:2", "a:b", "1:**", "1:", ":", "1:2:4294967296", "no-such", "rt:1:1x"} {
		if c, err := ParseCommunity(s); err == nil {
			t.Errorf("%q reads as %v", s, c)
		}
	}
	for name, want := range map[string]uint32{"no-export": 0xffffff01, "no-advertise": 0xffffff02, "no-export-subconfed": 0xffffff03,
		"no-peer": 0xffffff04, "blackhole": 0xffff029a, "graceful-shutdown": 0xffff0000} {
		if c, err := ParseCommunity(name); err != nil || !c.Matches(&route.Attrs{Communities: []uint32{want}}) {
			t.Errorf("%s is not %x: %v", name, want, err)
		}
	}
}

func TestLengths(t *testing.T) {
	for s, want := range map[string]string{ // of 0 to 6, which match
		"<=5": "012345", "<3": "012", "3": "3", "=3": "3", "==3": "3", "!=3": "012456", ">=5": "56", ">5": "6", " < 3 ": "012", "0": "0",
	} {
		l, err := ParseLength(s)
		got := ""
		for n := range 7 {
			if l.Matches(n) {
				got += fmt.Sprint(n)
			}
		}
		if err != nil || got != want {
			t.Errorf("%q matches %q, %v, want %q", s, got, err, want)
		}
	}
	for _, s := range []string{"", "<", "5<", "=<5", "<=-1", "<0", "65536", "<=5 6", "<>5", "x"} {
		if l, err := ParseLength(s); err == nil {
			t.Errorf("%q reads as %v", s, l)
		}
	}
}

func TestGlobs(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"eth*", "eth0", true}, {"eth*", "eth", true}, {"eth*", "veth0", false}, {"eth?", "eth10", false}, {"eth[01]", "eth1", true},
		{"eth[01]", "eth2", false}, {"*", "lo", true}, {"*", "", false}, {"eth0", "eth0", true}, {"*.100", "eth0.100", true},
	} {
		if g, err := ParseGlob(c.pattern); err != nil || g.Matches(c.name) != c.want {
			t.Errorf("%q matches %q: %v, %v, want %v", c.pattern, c.name, !c.want, err, c.want)
		}
	}
	for _, s := range []string{"", "eth[", "eth[0", "a b", "eth[]", "eth\\"} {
		if g, err := ParseGlob(s); err == nil {
			t.Errorf("%q reads as the pattern %q", s, g)
		}
	}
}

func FuzzParsePrefixRange(f *testing.F) {
	for _, s := range []string{"10.0.0.0/8+", "10.0.0.0/8{16,24}", "::/0-", "10.0.0.0/8 ge 16 le 24", "2001:db8::/32 le 48"} {
		f.Add(s, []byte{10, 1, 0, 0}, 16)
	}
	f.Fuzz(func(t *testing.T, s string, addr []byte, bits int) {
		r, err := ParsePrefixRange(s)
		if err != nil {
			return
		}
		if again, err := ParsePrefixRange(r.String()); err != nil || again != r {
			t.Errorf("%q is %v, which reads as %v, %v", s, r, again, err)
		}
		if a, ok := netip.AddrFromSlice(addr); ok {
			if p, err := a.Prefix(bits); err == nil && r.Matches(p) != slowMatch(r, p) {
				t.Errorf("%v matches %v: %v", r, p, r.Matches(p))
			}
		}
	})
}

func FuzzParseCommunity(f *testing.F) {
	for _, s := range []string{"65001:100", "1:2:3", "*:1", "no-export", "NO_EXPORT", "65535:666"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, err := ParseCommunity(s)
		if err != nil {
			return
		}
		if again, err := ParseCommunity(c.String()); err != nil || again != c {
			t.Errorf("%q is %v, which reads as %v, %v", s, c, again, err)
		}
	})
}

func FuzzParseLength(f *testing.F) {
	for _, s := range []string{"<=5", "3", "!= 3", "==0"} {
		f.Add(s, 3)
	}
	f.Fuzz(func(t *testing.T, s string, n int) {
		l, err := ParseLength(s)
		if err != nil {
			return
		}
		if again, err := ParseLength(l.String()); err != nil || again != l || again.Matches(n) != l.Matches(n) {
			t.Errorf("%q is %v, which reads as %v, %v", s, l, again, err)
		}
	})
}

func FuzzParseGlob(f *testing.F) {
	f.Add("eth*", "eth0")
	f.Add("eth[0-9]", "eth0")
	f.Fuzz(func(t *testing.T, s, name string) {
		g, err := ParseGlob(s)
		if err == nil && !strings.ContainsAny(s, `*?[\`) && g.Matches(name) != (s == name) {
			t.Errorf("%q matches %q: %v", s, name, g.Matches(name))
		}
	})
}
