package handshake

import (
	"crypto/ecdh"
	"encoding/hex"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// octets are what stands in hexadecimal digits.
func octets(t *testing.T, s string) (b [KeySize]byte) {
	t.Helper()
	if n, err := hex.Decode(b[:], []byte(s)); err != nil || n != KeySize {
		t.Fatalf("%q: %d octets, %v", s, n, err)
	}
	return b
}

// TestCurveByTheVectorsOfRFC7748, of sections 5.2 and 6.1.
func TestCurveByTheVectorsOfRFC7748(t *testing.T) {
	for _, v := range []struct{ scalar, point, want string }{
		{"a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
			"e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
			"c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552"},
		{"4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
			"e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
			"95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957"},
		{"77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a",
			"de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f",
			"4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"},
	} {
		k, point := PrivateKey(octets(t, v.scalar)), octets(t, v.point)
		var got [KeySize]byte
		if err := multiply(&got, &k, point[:]); err != nil || got != octets(t, v.want) {
			t.Errorf("%s by %s is %x, %v", v.scalar, v.point, got, err)
		}
	}
	alice := PrivateKey(octets(t, "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a"))
	if p := alice.Public(); p != octets(t, "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a") {
		t.Errorf("the public key is %x", p[:])
	}
}

// TestCurveIterated is the iteration of RFC 7748, section 5.2. Every second point of it is no public key that anybody made.
func TestCurveIterated(t *testing.T) {
	k, u := PrivateKey{9}, [KeySize]byte{9}
	for i := 1; i <= 1000; i++ {
		var next [KeySize]byte
		if err := multiply(&next, &k, u[:]); err != nil {
			t.Fatal(err)
		}
		u, k = k, next
		if i == 1 && k != octets(t, "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079") {
			t.Errorf("after one iteration %x", k[:])
		}
	}
	if k != octets(t, "684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51") {
		t.Errorf("after 1000 iterations %x", k[:])
	}
}

// oddPoints are the points of low order, those that have a second encoding since they are below 19, all of these with the bit
// that does not count too, and some beside them.
func oddPoints(t *testing.T) (points [][KeySize]byte) {
	p := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 255), big.NewInt(19))
	add := func(n *big.Int) {
		b := n.FillBytes(make([]byte, KeySize))
		slices.Reverse(b)
		points = append(points, [KeySize]byte(b))
		b[KeySize-1] |= 0x80
		points = append(points, [KeySize]byte(b))
	}
	for i := int64(-2); i < 19; i++ {
		add(new(big.Int).Add(p, big.NewInt(i)))
		add(big.NewInt(i + 2))
	}
	for _, s := range []string{ // of order 8
		"e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
		"5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
	} {
		b := octets(t, s)
		slices.Reverse(b[:])
		add(new(big.Int).SetBytes(b[:]))
	}
	return points
}

// TestCurveIsThatOfTheStandardLibrary multiplies random keys with random points and with odd ones here and there.
func TestCurveIsThatOfTheStandardLibrary(t *testing.T) {
	const seed = 7748
	random := rand.NewChaCha8([32]byte{seed & 0xff, seed >> 8})
	check := func(k PrivateKey, point [KeySize]byte) (refused bool) {
		t.Helper()
		theirs, err := ecdh.X25519().NewPrivateKey(k[:])
		if err != nil {
			t.Fatal(err)
		}
		if got := k.Public(); got != PublicKey(theirs.PublicKey().Bytes()) {
			t.Errorf("seed %d: the public key of %x is %x", seed, k[:], got[:])
		}
		remote, err := ecdh.X25519().NewPublicKey(point[:])
		if err != nil {
			t.Fatal(err)
		}
		want, err := theirs.ECDH(remote)
		var got [KeySize]byte
		switch refusal := multiply(&got, &k, point[:]); {
		case (refusal == nil) != (err == nil):
			t.Errorf("seed %d: %x by %x: %v, want %v", seed, k[:], point, refusal, err)
		case err != nil && got != [KeySize]byte{}:
			t.Errorf("a secret with %x: %x", point, got)
		case err == nil && got != [KeySize]byte(want):
			t.Errorf("seed %d: %x by %x is %x, want %x", seed, k[:], point, got, want)
		}
		return err != nil
	}
	draw := func() (b [KeySize]byte) { _, _ = random.Read(b[:]); return b }
	for range 300 {
		check(draw(), draw())
	}
	low := 0
	for _, point := range oddPoints(t) {
		if check(draw(), point) {
			low++
		}
	}
	if low != 2*7 { // 0, 1 and -1, two of order 8, and second encodings of 0 and 1
		t.Errorf("%d points are of low order", low)
	}
	for _, edge := range []PrivateKey{{}, {0: 7}, {31: 0x80}, {31: 0x40}, {0: 0xff, 31: 0xff}} {
		check(edge, draw())
	}
}

// TestEphemeralKeysAreErased when the handshake that they were made for is over, whether it came to a session or not.
func TestEphemeralKeysAreErased(t *testing.T) {
	w := newPair(t, 1)
	p := w.peers[0]
	p.NeedSession(w.now)
	given, done := p.begun.state.x, PrivateKey{}
	if given.ephemeral == done {
		t.Fatal("there is no ephemeral key")
	}
	p.end()
	if given.ephemeral != done || given.secret != done {
		t.Error("a handshake that was given up has its keys still")
	}
	w.hosts[0].obey()
	w.run(time.Second) // a peer may not begin again at once
	p.NeedSession(w.now)
	used := p.begun.state.x
	w.hosts[0].obey()
	w.connect()
	if p.Keypairs().Current == nil || used.ephemeral != done || used.secret != done {
		t.Error("a handshake that came to a session has its keys still")
	}
}
