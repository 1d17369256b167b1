package proposal

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/warrenvpn/warren/tunnel/ike/crypto"
	"github.com/warrenvpn/warren/tunnel/ike/message"
)

func mustIKE(t testing.TB, s string) List {
	t.Helper()
	l, err := ParseIKE(s)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func mustESP(t testing.TB, s string) List {
	t.Helper()
	l, _, err := ParseESP(s)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestSelectIKE(t *testing.T) {
	for _, c := range []struct{ ours, theirs, want string }{
		{"aes256gcm16-prfsha384-ecp384", "aes256gcm16-prfsha384-ecp384", "aes256gcm16-prfsha384-ecp384"},
		{"aes256gcm16-prfsha384-ecp384,aes256-sha256-modp2048", "aes256-sha256-modp2048,aes256gcm16-prfsha384-ecp384", "aes256gcm16-prfsha384-ecp384"},
		{"aes256-aes128-sha256-modp2048-ecp256", "aes128-aes256-sha256-sha1-prfsha256-ecp256-modp2048", "aes256-sha256-modp2048"},
		{"aes128-sha256-prfsha512-modp2048", "default,aes128-sha256-prfsha512-prfsha256-modp2048", "aes128-sha256-prfsha512-modp2048"},
		{"default", "chacha20poly1305-prfsha256-curve25519", "chacha20poly1305-prfsha256-curve25519"},
		{"aes256gcm16-prfsha384-ecp384-ke1_mlkem768", "aes256gcm16-prfsha384-ecp384-ke1_mlkem768-ke1_none", "aes256gcm16-prfsha384-ecp384-ke1_mlkem768"},
		{"aes256gcm16-prfsha384-ecp384-ke1_mlkem768-ke1_none", "aes256gcm16-prfsha384-ecp384", "aes256gcm16-prfsha384-ecp384"},
		{"aes256gcm16-prfsha384-ecp384", "aes256gcm16-prfsha384-ecp384-ke1_mlkem768-ke1_none", "aes256gcm16-prfsha384-ecp384-ke1_none"},
		{"aes256gcm16-prfsha384-ecp384-ecp256-ke1_ecp384-ke1_mlkem768", "aes256gcm16-prfsha384-ecp384-ecp256-ke1_ecp384", "aes256gcm16-prfsha384-ecp256-ke1_ecp384"},
	} {
		offer := mustIKE(t, c.theirs).Offer(nil)
		got, err := Select(mustIKE(t, c.ours), offer)
		if err != nil || got.String() != c.want {
			t.Errorf("%s of %s: %v, %v; want %s", c.ours, c.theirs, got, err, c.want)
			continue
		}
		back, err := Accept(offer, got.Answer([]byte{1}))
		if err != nil || back.String() != c.want || back.Number != got.Number || len(back.SPI) != 1 {
			t.Errorf("%s: the initiator reads %v, %v", got, back, err)
		}
		if err := got.Suite().Check(); err != nil {
			t.Errorf("%s: %v", got, err)
		}
	}
}

func TestSelectESP(t *testing.T) {
	for _, c := range []struct{ ours, theirs, want string }{
		{"aes256gcm16", "aes256gcm16", "aes256gcm16-esn"},
		{"aes256gcm16", "aes256gcm16-noesn", "aes256gcm16-noesn"},
		{"aes256gcm16-noesn", "aes256gcm16", "aes256gcm16-noesn"},
		{"aes256gcm16-esn", "aes256gcm16-esn", "aes256gcm16-esn"},
		{"aes256gcm16-ecp384", "aes256gcm16-ecp256-ecp384", "aes256gcm16-ecp384-esn"},
		{"aes256gcm16-ecp384-none", "aes256gcm16", "aes256gcm16-esn"},
		{"aes256gcm16", "aes256gcm16-ecp384-none", "aes256gcm16-none-esn"},
		{"default", "aes128-sha256-noesn", "aes128-sha256-noesn"},
	} {
		offer := mustESP(t, c.theirs).Offer([]byte{1, 2, 3, 4})
		got, err := Select(mustESP(t, c.ours), offer)
		if err != nil || got.String() != c.want || !slices.Equal(got.SPI, []byte{1, 2, 3, 4}) {
			t.Errorf("%s of %s: %v, %v; want %s", c.ours, c.theirs, got, err, c.want)
			continue
		}
		if got.ESN() != strings.HasSuffix(c.want, "-esn") {
			t.Errorf("%v: ESN %v", got, got.ESN())
		}
		if back, err := Accept(offer, got.Answer(nil)); err != nil || back.String() != c.want {
			t.Errorf("%s: the initiator reads %v, %v", got, back, err)
		}
	}
}

func TestNothingInCommon(t *testing.T) {
	for _, c := range []struct {
		ours, theirs List
		says         []string
	}{
		{mustIKE(t, "aes256gcm16-prfsha384-ecp384"), mustIKE(t, "aes256-sha256-modp2048,aes256gcm16-prfsha384-ecp256"),
			[]string{"offered was aes256-sha256-modp2048,aes256gcm16-prfsha384-ecp256, wanted is aes256gcm16-prfsha384-ecp384", "differ in key exchange method"}},
		{mustESP(t, "aes256gcm16"), mustESP(t, "aes256gcm16-ecp384"), []string{"offered was aes256gcm16-ecp384, wanted is aes256gcm16;", "differ in key exchange method"}},
		{mustESP(t, "aes256gcm16-ecp384"), mustESP(t, "aes256gcm16"), []string{"differ in key exchange method"}},
		{mustESP(t, "aes256gcm16-esn"), mustESP(t, "aes256gcm16-noesn"), []string{"differ in esn or noesn"}},
		{mustESP(t, "aes256-sha256"), mustESP(t, "aes256-sha1"), []string{"differ in integrity algorithm"}},
		{mustESP(t, "aes256gcm16"), mustIKE(t, "aes256gcm16-prfsha384-ecp384"), []string{"offered was IKE:aes256gcm16"}},
		{mustIKE(t, "aes256gcm16-prfsha384-ecp384-ke1_mlkem768"), mustIKE(t, "aes256gcm16-prfsha384-ecp384"), []string{"additional key exchange method 1"}},
		{mustIKE(t, "default"), nil, []string{"offered was ,"}},
	} {
		_, err := Select(c.ours, c.theirs.Offer(nil))
		if !errors.Is(err, ErrNoProposal) {
			t.Errorf("%v of %v: %v", c.ours, c.theirs, err)
			continue
		}
		for _, part := range c.says {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%q does not say %q", err, part)
			}
		}
	}
	huge := mustIKE(t, strings.Repeat("aes256-sha256-modp2048-modp3072-modp4096,", 254)+"aes128-sha1-modp2048").Offer(nil)
	for i := range huge {
		huge[i].Transforms = append(huge[i].Transforms, slices.Repeat([]message.Transform{{Type: 2, ID: 99}}, 100)...)
	}
	if _, err := Select(mustESP(t, "aes256gcm16"), huge); err == nil || len(err.Error()) > 4000 || !strings.Contains(err.Error(), "247 more") {
		t.Errorf("an error of %d bytes: %v", len(fmt.Sprint(err)), err)
	}
}

func TestWhatIsNotUnderstoodIsNotChosen(t *testing.T) {
	ours := mustESP(t, "aes256gcm16")
	attribute := []message.Attribute{{Type: 99, Short: true, Value: []byte{0, 1}}}
	change := func(f func(*message.Proposal)) []message.Proposal {
		o := ours.Offer(nil)
		f(&o[0])
		return o
	}
	for name, offer := range map[string][]message.Proposal{
		"type 13":             change(func(p *message.Proposal) { p.Transforms = append(p.Transforms, message.Transform{Type: 13}) }),
		"type 0":              change(func(p *message.Proposal) { p.Transforms = append(p.Transforms, message.Transform{}) }),
		"an attribute":        change(func(p *message.Proposal) { p.Transforms[0].Attributes = attribute }),
		"another key length":  change(func(p *message.Proposal) { p.Transforms[0].KeyLength = 192 }),
		"no key length":       change(func(p *message.Proposal) { p.Transforms[0].KeyLength = 0 }),
		"no sequence numbers": change(func(p *message.Proposal) { p.Transforms = p.Transforms[:1] }),
		"AH":                  change(func(p *message.Proposal) { p.Protocol = message.ProtocolAH }),
		"NONE with an attribute": change(func(p *message.Proposal) {
			p.Transforms = append(p.Transforms, message.Transform{Type: 4, Attributes: attribute})
		}),
		"integrity with an AEAD": change(func(p *message.Proposal) { p.Transforms = append(p.Transforms, message.Transform{Type: 3, ID: 12}) }),
		"nothing":                {{Number: 1, Protocol: message.ProtocolESP}},
	} {
		if c, err := Select(ours, offer); !errors.Is(err, ErrNoProposal) {
			t.Errorf("%s: %v, %v", name, c, err)
		}
	}
	offer := change(func(p *message.Proposal) { p.Transforms = append(p.Transforms, message.Transform{Type: 3}) })
	c, err := Select(ours, offer)
	if err != nil || len(of(c.Transforms, message.TransformInteg)) != 1 || c.Cipher().Check() != nil {
		t.Errorf("integrity NONE with an AEAD: %v, %v", c.Transforms, err)
	}
}

func TestChildOfIKEAuthIsWithoutKE(t *testing.T) {
	ours := mustESP(t, "aes256gcm16-ecp384-ke1_mlkem768,aes256gcm16-modp2048,aes128gcm16")
	if got := ours.WithoutKE().String(); got != "aes256gcm16,aes128gcm16" {
		t.Errorf("offered is %s", got)
	}
	if ours.String() != "aes256gcm16-ecp384-ke1_mlkem768,aes256gcm16-modp2048,aes128gcm16" {
		t.Errorf("the configured list became %v", ours)
	}
	for _, theirs := range []string{"aes256gcm16", "aes256gcm16-modp4096", "aes256gcm16-none"} {
		offer := mustESP(t, theirs).Offer(nil)
		c, err := SelectWithoutKE(ours, offer)
		if err != nil || c.KE() != crypto.GroupNone || c.String() != "aes256gcm16-esn" {
			t.Errorf("%s: %v, %v", theirs, c, err)
		}
		if len(offer[0].Transforms) != len(mustESP(t, theirs)[0].Transforms) {
			t.Errorf("%s: the offer was changed", theirs)
		}
	}
}

func TestAcceptOnlyWhatWasOffered(t *testing.T) {
	offer := mustESP(t, "aes256gcm16-aes128gcm16-ecp384-ke1_mlkem768-ke1_none,aes128-sha256-modp2048-none").Offer([]byte{1, 2, 3, 4})
	one := func(number uint8, s string) []message.Proposal {
		p := mustESP(t, s)[0]
		return []message.Proposal{{Number: number, Protocol: message.ProtocolESP, SPI: []byte{9}, Transforms: p.Transforms}}
	}
	for _, s := range []string{"aes256gcm16-ecp384-ke1_mlkem768-esn", "aes128gcm16-ecp384-noesn", "aes128gcm16-ecp384-ke1_none-noesn"} {
		if c, err := Accept(offer, one(1, s)); err != nil || c.String() != s || c.Number != 1 {
			t.Errorf("%s: %v, %v", s, c, err)
		}
	}
	for _, s := range []string{"aes128-sha256-modp2048-esn", "aes128-sha256-esn", "aes128-sha256-none-esn"} {
		if c, err := Accept(offer, one(2, s)); err != nil || c.Number != 2 {
			t.Errorf("%s: %v, %v", s, c, err)
		}
	}
	for name, answer := range map[string][]message.Proposal{
		"none":                  nil,
		"two":                   append(one(1, "aes256gcm16-ecp384-esn"), one(2, "aes128-sha256-esn")...),
		"number 0":              one(0, "aes256gcm16-ecp384-esn"),
		"number 3":              one(3, "aes256gcm16-ecp384-esn"),
		"the other's number":    one(2, "aes256gcm16-ecp384-esn"),
		"two ciphers":           one(1, "aes256gcm16-aes128gcm16-ecp384-esn"),
		"both sequence numbers": one(1, "aes256gcm16-ecp384"),
		"without PFS":           one(1, "aes256gcm16-esn"),
		"another group":         one(1, "aes256gcm16-ecp256-esn"),
		"something more":        one(1, "aes256gcm16-ecp384-ke2_mlkem768-esn"),
		"not offered":           one(1, "aes192gcm16-ecp384-esn"),
	} {
		if c, err := Accept(offer, answer); !errors.Is(err, ErrAnswer) {
			t.Errorf("%s: %v, %v", name, c, err)
		}
	}
	twice := mustIKE(t, "aes256gcm16-prfsha384-ecp384-ecp256-ke1_ecp384").Offer(nil)
	answer := Choice{Protocol: message.ProtocolIKE, Number: 1, Transforms: transforms([3]uint16{1, 20, 256}, [3]uint16{2, 6}, [3]uint16{4, 20}, [3]uint16{6, 20})}
	if c, err := Accept(twice, answer.Answer(nil)); !errors.Is(err, ErrAnswer) {
		t.Errorf("one method twice: %v, %v", c, err)
	}
}

// model chooses by going through all combinations in order of preference.
func model(configured List, offered []message.Proposal) (int, []message.Transform, bool) {
	for _, c := range configured {
		for i, o := range offered {
			if c.Protocol != o.Protocol {
				continue
			}
			if chosen, ok := modelPair(c.Transforms, o.Transforms, nil, types(c.Transforms, nil)); ok {
				return i, chosen, true
			}
		}
	}
	return 0, nil, false
}

func modelPair(c, o, chosen []message.Transform, rest []message.TransformType) ([]message.Transform, bool) {
	if len(rest) == 0 {
		return chosen, modelGoes(chosen, o)
	}
	for _, t := range of(c, rest[0]) {
		with := slices.Clone(chosen)
		if !isNone(t) {
			with = append(with, t)
		}
		if all, ok := modelPair(c, o, with, rest[1:]); ok {
			return all, true
		}
	}
	return nil, false
}

// modelGoes says whether the offered proposal allows exactly what was chosen, where NONE is left out.
func modelGoes(chosen, o []message.Transform) bool {
	methods := make(map[uint16]bool)
	for _, t := range chosen {
		if !slices.ContainsFunc(o, t.Equal) || isKE(t.Type) && methods[t.ID] {
			return false
		}
		methods[t.ID] = methods[t.ID] || isKE(t.Type)
	}
	for _, t := range o {
		if len(of(chosen, t.Type)) == 0 && !slices.ContainsFunc(of(o, t.Type), isNone) {
			return false
		}
	}
	return true
}

// randomOffer draws from few transforms, so that offers often have something in common.
func randomOffer(r *rand.Rand) []message.Proposal {
	pool := transforms([3]uint16{1, 20, 256}, [3]uint16{1, 20, 128}, [3]uint16{3, 0}, [3]uint16{4, 20}, [3]uint16{4, 19}, [3]uint16{4, 0},
		[3]uint16{5, 0}, [3]uint16{5, 1}, [3]uint16{5, 1}, [3]uint16{6, 20}, [3]uint16{6, 36}, [3]uint16{6, 0}, [3]uint16{7, 36}, [3]uint16{7, 0})
	rare := transforms([3]uint16{1, 12, 256}, [3]uint16{3, 12}, [3]uint16{2, 5}, [3]uint16{13, 0})
	offer := make([]message.Proposal, r.IntN(4))
	for i := range offer {
		offer[i] = message.Proposal{Number: uint8(i + 1), Protocol: message.ProtocolESP}
		for range 3 + r.IntN(8) {
			t := pool[r.IntN(len(pool))]
			if r.IntN(30) == 0 {
				t = rare[r.IntN(len(rare))]
			}
			offer[i].Transforms = append(offer[i].Transforms, t)
		}
	}
	return offer
}

func TestSelectAgainstModel(t *testing.T) {
	const seed, runs = 9370, 30000
	r := rand.New(rand.NewPCG(seed, 0))
	var found int
	for run := range runs {
		var configured List
		for _, p := range randomOffer(r) {
			if len(of(p.Transforms, message.TransformEncr)) > 0 && len(of(p.Transforms, message.TransformSN)) > 0 {
				configured = append(configured, Proposal{p.Protocol, slices.DeleteFunc(p.Transforms, func(t message.Transform) bool { return t.Type == message.TransformInteg })})
			}
		}
		offered := randomOffer(r)
		got, err := Select(configured, offered)
		which, want, ok := model(configured, offered)
		if (err == nil) != ok {
			t.Fatalf("seed %d, run %d: %v of %v: %v, want %v", seed, run, configured, offered, err, ok)
		}
		if !ok {
			continue
		}
		found++
		used := slices.DeleteFunc(slices.Clone(got.Transforms), isNone)
		if int(got.Number) != which+1 || !same(used, want) {
			t.Fatalf("seed %d, run %d: %v of %v:\n got %v of number %d\nwant %v of number %d", seed, run, configured, offered, used, got.Number, want, which+1)
		}
		if _, err := Accept(offered, got.Answer(nil)); err != nil {
			t.Fatalf("seed %d, run %d: %v of %v: %v is not accepted: %v", seed, run, configured, offered, got, err)
		}
	}
	if found < runs/50 || found > runs*9/10 {
		t.Errorf("%d of %d runs had something in common", found, runs)
	}
}

func FuzzSelect(f *testing.F) {
	f.Add([]byte{1, 0, 20, 1, 0, 5, 0, 1, 0, 0}, uint8(1))
	f.Fuzz(func(t *testing.T, b []byte, number uint8) {
		o := message.Proposal{Number: number, Protocol: message.ProtocolESP}
		for ; len(b) >= 5 && len(o.Transforms) < 255; b = b[5:] {
			o.Transforms = append(o.Transforms, message.Transform{Type: message.TransformType(b[0]), ID: uint16(b[1])<<8 | uint16(b[2]), KeyLength: uint16(b[3])<<8 | uint16(b[4])})
		}
		ours := mustESP(t, "aes256gcm16-ecp384-ecp256-none-ke1_mlkem768-ke1_ecp384-ke1_none,aes128-sha256")
		if c, err := Select(ours, []message.Proposal{o}); err == nil {
			if _, err := Accept([]message.Proposal{o}, c.Answer(nil)); err != nil {
				t.Errorf("%v of %v: %v", c, o, err)
			}
		}
		_, _ = SelectWithoutKE(ours, []message.Proposal{o})
		_, _ = Accept(ours.Offer(nil), []message.Proposal{o})
	})
}
