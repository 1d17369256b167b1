package crypto

import (
	"bytes"
	"crypto/ecdh"
	"crypto/mlkem"
	"errors"
	"fmt"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"
)

var everyGroup = []GroupID{MODP2048, MODP3072, MODP4096, ECP256, ECP384, ECP521, Curve25519, MLKEM768}

func TestBothSidesAgree(t *testing.T) {
	for _, id := range everyGroup {
		g, err := id.Group()
		if err != nil {
			t.Fatal(err)
		}
		x, err := g.Begin()
		if err != nil {
			t.Fatal(err)
		}
		reply, shared, err := g.Respond(x.Public())
		if err != nil {
			t.Fatal(err)
		}
		again, err := x.Finish(reply)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(shared, again) || len(shared) == 0 {
			t.Errorf("group %d: %x and %x", id, shared, again)
		}
		if len(x.Public()) != id.PublicLen(true) || len(reply) != id.PublicLen(false) {
			t.Errorf("group %d: %d and %d bytes, not %d and %d", id, len(x.Public()), len(reply), id.PublicLen(true), id.PublicLen(false))
		}
		y, err := g.Begin()
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Equal(x.Public(), y.Public()) {
			t.Errorf("group %d: two exchanges have the same key", id)
		}
	}
	for _, id := range []GroupID{GroupNone, 2, 5, 35, 37, 65535} {
		if _, err := id.Group(); !errors.Is(err, ErrUnsupported) || id.PublicLen(true) != 0 {
			t.Errorf("group %d: %v", id, err)
		}
	}
}

// RFC 5903 sections 8.1 to 8.3 and RFC 7748 section 6.1: private and public values of both sides, and the shared secret.
var curveVectors = map[GroupID]struct {
	curve                ecdh.Curve
	i, gi, r, gr, shared string
}{
	ECP256: {ecdh.P256(), "C88F01F510D9AC3F70A292DAA2316DE544E9AAB8AFE84049C62A9C57862D1433",
		"DAD0B65394221CF9B051E1FECA5787D098DFE637FC90B9EF945D0C37725811805271A0461CDB8252D61F1C456FA3E59AB1F45B33ACCF5F58389E0577B8990BB3",
		"C6EF9C5D78AE012A011164ACB397CE2088685D8F06BF9BE0B283AB46476BEE53",
		"D12DFB5289C8D4F81208B70270398C342296970A0BCCB74C736FC7554494BF6356FBF3CA366CC23E8157854C13C58D6AAC23F046ADA30F8353E74F33039872AB",
		"D6840F6B42F6EDAFD13116E0E12565202FEF8E9ECE7DCE03812464D04B9442DE"},
	ECP384: {ecdh.P384(), "099F3C7034D4A2C699884D73A375A67F7624EF7C6B3C0F160647B67414DCE655E35B538041E649EE3FAEF896783AB194",
		"667842D7D180AC2CDE6F74F37551F55755C7645C20EF73E31634FE72B4C55EE6DE3AC808ACB4BDB4C88732AEE95F41AA" +
			"9482ED1FC0EEB9CAFC4984625CCFC23F65032149E0E144ADA024181535A0F38EEB9FCFF3C2C947DAE69B4C634573A81C",
		"41CB0779B4BDB85D47846725FBEC3C9430FAB46CC8DC5060855CC9BDA0AA2942E0308312916B8ED2960E4BD55A7448FC",
		"E558DBEF53EECDE3D3FCCFC1AEA08A89A987475D12FD950D83CFA41732BC509D0D1AC43A0336DEF96FDA41D0774A3571" +
			"DCFBEC7AACF3196472169E838430367F66EEBE3C6E70C416DD5F0C68759DD1FFF83FA40142209DFF5EAAD96DB9E6386C",
		"11187331C279962D93D604243FD592CB9D0A926F422E47187521287E7156C5C4D603135569B9E9D09CF5D4A270F59746"},
	ECP521: {ecdh.P521(), "0037ADE9319A89F4DABDB3EF411AACCCA5123C61ACAB57B5393DCE47608172A095AA85A30FE1C2952C6771D937BA9777F5957B2639BAB072462F68C27A57382D4A52",
		"0015417E84DBF28C0AD3C278713349DC7DF153C897A1891BD98BAB4357C9ECBEE1E3BF42E00B8E380AEAE57C2D107564941885942AF5A7F4601723C4195D176CED3E" +
			"017CAE20B6641D2EEB695786D8C946146239D099E18E1D5A514C739D7CB4A10AD8A788015AC405D7799DC75E7B7D5B6CF2261A6A7F1507438BF01BEB6CA3926F9582",
		"0145BA99A847AF43793FDD0E872E7CDFA16BE30FDC780F97BCCC3F078380201E9C677D600B343757A3BDBF2A3163E4C2F869CCA7458AA4A4EFFC311F5CB151685EB9",
		"00D0B3975AC4B799F5BEA16D5E13E9AF971D5E9B984C9F39728B5E5739735A219B97C356436ADC6E95BB0352F6BE64A6C2912D4EF2D0433CED2B6171640012D9460F" +
			"015C68226383956E3BD066E797B623C27CE0EAC2F551A10C2C724D9852077B87220B6536C5C408A1D2AEBB8E86D678AE49CB57091F4732296579AB44FCD17F0FC56A",
		"01144C7D79AE6956BC8EDB8E7C787C4521CB086FA64407F97894E5E6B2D79B04D1427E73CA4BAA240A34786859810C06B3C715A3A8CC3151F2BEE417996D19F3DDEA"},
	Curve25519: {ecdh.X25519(), "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a",
		"8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a",
		"5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb",
		"de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f",
		"4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"},
}

func TestCurveVectors(t *testing.T) {
	for id, v := range curveVectors {
		g, err := id.Group()
		if err != nil {
			t.Fatal(err)
		}
		for _, side := range []struct{ private, public, peer string }{{v.i, v.gi, v.gr}, {v.r, v.gr, v.gi}} {
			private, err := v.curve.NewPrivateKey(unhex(t, side.private))
			if err != nil {
				t.Fatalf("group %d: %v", id, err)
			}
			x := &curveExchange{g.(curve), private}
			equal(t, "public value", x.Public(), unhex(t, side.public))
			shared, err := x.Finish(unhex(t, side.peer))
			if err != nil {
				t.Fatalf("group %d: %v", id, err)
			}
			equal(t, "shared secret", shared, unhex(t, v.shared))
		}
	}
}

// arctan gives arctan(1/x) times one.
func arctan(x int64, one *big.Int) *big.Int {
	sum, square := new(big.Int), big.NewInt(x*x)
	power := new(big.Int).Quo(one, big.NewInt(x))
	for n := int64(1); power.Sign() != 0; n += 2 {
		term := new(big.Int).Quo(power, big.NewInt(n))
		if n%4 == 3 {
			term.Neg(term)
		}
		sum.Add(sum, term)
		power.Quo(power, square)
	}
	return sum
}

// modpModel computes a prime by the formula of RFC 3526, with Machin's for pi.
func modpModel(bits uint, k int64) *big.Int {
	const guard = 64
	one := new(big.Int).Lsh(big.NewInt(1), bits-130+guard)
	pi := arctan(5, one)
	pi.Mul(pi, big.NewInt(4)).Sub(pi, arctan(239, one)).Mul(pi, big.NewInt(4)).Rsh(pi, guard)
	p := new(big.Int).Lsh(big.NewInt(1), bits)
	p.Sub(p, new(big.Int).Lsh(big.NewInt(1), bits-64)).Sub(p, big.NewInt(1))
	return p.Add(p, pi.Add(pi, big.NewInt(k)).Lsh(pi, 64))
}

func TestMODPAgainstModel(t *testing.T) {
	const seed = 3526
	random := rand.New(rand.NewPCG(seed, 0))
	for _, c := range []struct {
		group *modp
		bits  uint
		k     int64
	}{{modp2048(), 2048, 124476}, {modp3072(), 3072, 1690314}, {modp4096(), 4096, 240904}} {
		p := modpModel(c.bits, c.k)
		if got := new(big.Int).SetBytes(c.group.modulus.Nat().Bytes(c.group.modulus)); got.Cmp(p) != 0 {
			t.Fatalf("%s: the prime is %x, want %x", c.group.name, got, p)
		}
		for range 3 {
			a, b := make([]byte, c.group.exponent), make([]byte, c.group.exponent)
			for i := range a {
				a[i], b[i] = byte(random.Uint32()), byte(random.Uint32())
			}
			clear(a[:random.IntN(3)]) // leading zeros
			size := int(c.bits / 8)
			power := func(base *big.Int, e []byte) []byte {
				return new(big.Int).Exp(base, new(big.Int).SetBytes(e), p).FillBytes(make([]byte, size))
			}
			x, y := c.group.beginWith(a), c.group.beginWith(b)
			equal(t, c.group.name+" public", x.Public(), power(big.NewInt(2), a))
			shared, err := x.Finish(y.Public())
			if err != nil {
				t.Fatal(err)
			}
			equal(t, c.group.name+" shared", shared, power(new(big.Int).SetBytes(power(big.NewInt(2), b)), a))
		}
	}
}

// unusable lists data that neither side of a group may accept, by what is wrong with it.
func unusable(t *testing.T, id GroupID) map[string][]byte {
	responder := id.PublicLen(false)
	all := map[string][]byte{
		"nothing": nil, "short": fill(responder-1, 1), "long": fill(responder+1, 1),
	}
	switch id {
	case MODP2048, MODP3072, MODP4096:
		g, err := id.Group()
		if err != nil {
			t.Fatal(err)
		}
		m := g.(*modp).modulus
		p := m.Nat().Bytes(m)
		with := func(last byte) []byte { b := bytes.Clone(p); b[len(b)-1] = last; return b } // p ends in ff
		all["0"], all["1"] = make([]byte, len(p)), append(make([]byte, len(p)-1), 1)
		all["p-1"], all["p"], all["all ones"] = with(0xfe), p, fill(len(p), 0xff)
		all["2 without its zeros"] = []byte{2}
	case ECP256, ECP384, ECP521:
		v := curveVectors[id]
		all["zero, which stands for infinity elsewhere"] = make([]byte, responder)
		all["not on the curve"] = append(unhex(t, v.gi)[:responder-1], unhex(t, v.gi)[responder-1]^1)
		all["x beyond the field"] = slices.Concat(fill(responder/2, 0xff), unhex(t, v.gi)[responder/2:])
		all["SEC 1's form"] = append([]byte{uncompressed}, unhex(t, v.gi)...)
	case Curve25519:
		all["zero"] = make([]byte, 32)
		all["order 2"] = append([]byte{1}, make([]byte, 31)...)
		all["order 8"] = unhex(t, "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800")
	}
	return all
}

func TestPublicValuesAreChecked(t *testing.T) {
	for _, id := range everyGroup {
		g, err := id.Group()
		if err != nil {
			t.Fatal(err)
		}
		x, err := g.Begin()
		if err != nil {
			t.Fatal(err)
		}
		for what, data := range unusable(t, id) {
			if _, err := x.Finish(data); !errors.Is(err, ErrPublicValue) {
				t.Errorf("group %d, initiator, %s: %v", id, what, err)
			}
			if _, _, err := g.Respond(data); !errors.Is(err, ErrPublicValue) {
				t.Errorf("group %d, responder, %s: %v", id, what, err)
			}
		}
		reply, _, err := g.Respond(x.Public())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := x.Finish(reply); err != nil {
			t.Errorf("group %d: a bad answer spoils the exchange for a good one: %v", id, err)
		}
	}
	bad := fill(mlkem.EncapsulationKeySize768, 0xff) // coefficients beyond the modulus (FIPS 203 section 7.2)
	if _, _, err := (mlkem768{}).Respond(bad); !errors.Is(err, ErrPublicValue) {
		t.Errorf("ML-KEM-768: %v", err)
	}
}

// BenchmarkRespond measures what a responder spends on a key exchange.
func BenchmarkRespond(b *testing.B) {
	for _, id := range everyGroup {
		g, err := id.Group()
		if err != nil {
			b.Fatal(err)
		}
		x, err := g.Begin()
		if err != nil {
			b.Fatal(err)
		}
		public := x.Public()
		b.Run(fmt.Sprint(id), func(b *testing.B) {
			for b.Loop() {
				if _, _, err := g.Respond(public); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
