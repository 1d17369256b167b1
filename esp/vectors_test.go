package esp

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"testing"
)

// A vector is an ESP packet that was published.
type vector struct {
	name  string
	suite Suite
	key   string // with the salt of an AEAD
	seq   string // 16 digits with ESN
	plain string // with padding, pad length and next header
	esp   string // the packet from the SPI on; with a CBC suite without ICV
}

var aeadVectors = []vector{
	{
		name: "RFC 7634 appendix A", suite: ChaCha20Poly1305, seq: "00000005",
		key: "808182838485868788898a8b8c8d8e8f 909192939495969798999a9b9c9d9e9f a0a1a2a3",
		plain: `45000054a6f200004001e778c6336405 c000020508005b7a3a080000553bec10 0007362708090a0b0c0d0e0f10111213
			1415161718191a1b1c1d1e1f20212223 2425262728292a2b2c2d2e2f30313233 3435363701020204`,
		esp: `01020304000000051011121314151617 24039428b97f417e3c13753a4f05087b 67c352e6a7fab1b982d466ef407ae5c6
			14ee8099d52844eb61aa95dfab4c02f7 2aa71e7c4c4f64c9befe2facc638e8f3 cbec163fac469b502773f6fb94e664da
			9165b82829f641e076aaa8266b7fb0f7 b11b369907e1ad43`,
	},
	{
		name: "draft-mcgrew-gcm-test-01 case 1", suite: AES128GCM16, seq: "8765432100000000",
		key: "4c80cdefbb5d10da906ac73c3613a634 2e443b68",
		plain: `45000048699a000080114db7c0a80102 c0a801010a9bf15638d3010000010000 00000000045f736970045f7564700373
			69700963796265726369747902646b00 0021000101020201`,
		esp: `00004321000000004956ed7e3b244cfe fecf537e729d5b07dc30df528dd22b76 8d1b98736696a6fd348509fa13ceac34
			cfa2436f14a3f3cf65925bf1f4a13c5d 15b21e1884f5ff6247aeabb786b93bce 61bc17d768fd9732459018148f6cbe72
			2fd04796562dfdb4`,
	},
	{
		name: "draft-mcgrew-gcm-test-01 case 2", suite: AES128GCM16, seq: "0000000a",
		key: "feffe9928665731c6d6a8f9467308308 cafebabe",
		plain: `4500003e698f000080114dccc0a80102 c0a801010a980035002a2343b2d00100 00010000000000000373697009637962
			65726369747902646b00000100010001`,
		esp: `0000a5f80000000afacedbaddecaf888 deb22cd9b07c72c16e3a65beeb8df304 a5a5897d33ae530f1ba76d5d114d2a5c
			3de81827c10e9a4f51330d0eec416642 cfbb85a5b47e48a4ec3b9ba95d918bd1 83b70d3aa8bc6ee4c309e9d85a41ad4a`,
	},
	{
		name: "draft-mcgrew-gcm-test-01 case 3", suite: AES256GCM16, seq: "00000002",
		key: "abbccddef00112233445566778899aab abbccddef00112233445566778899aab 11223344",
		plain: `4500003069a6400080062690c0a80102 9389155e0a9e008b2dc57ee000000000 7002400020bf0000020405b401010402
			01020201`,
		esp: `4a2cbfe3000000020102030405060708 ff425c9b724599df7a3bcd510194e00d 6a78107f1b0b1cbf06efae9d65a5d763
			748a637985771d347f0545659f14e99d ef842d8eb335f4eecfdbf831824b4c49 15956c96`,
	},
	{
		name: "draft-mcgrew-gcm-test-01 case 4", suite: AES128GCM16, seq: "00000001",
		key: "00000000000000000000000000000000 00000000",
		plain: `4500003c99c500008001cb7a40679318 010101010800075c0200440061626364 65666768696a6b6c6d6e6f7071727374
			75767761626364656667686901020201`,
		esp: `00000000000000010000000000000000 4688daf2f973a392732909c331d56d60 f694abaa414b5e7ff5fdcdfff5e9a284
			456476492719ffb64de7d9dca1e1d894 bc3bd57873ed4d181d19d4d5c8c18af3 f821d496eeb096e98ad2b69e4799c71d`,
	},
	{
		name: "draft-mcgrew-gcm-test-01 case 5", suite: AES128GCM16, seq: "1010101010101010",
		key: "3de09874b388e6491988d0c3607eae1f 57690e43",
		plain: `4500003c99c300008001cb7c40679318 010101010800085c0200430061626364 65666768696a6b6c6d6e6f7071727374
			75767761626364656667686901020201`,
		esp: `42f67e3f101010104e280000a2fca1a3 fba2caa4853cf9f0f22cb10d86dd83b0 fec75691cf1a04b00d1138ec9c357917
			65acbd8701ad79845bf9fe3fba487bc9 1755e6662b4c8d0d1f5e22739530320a e0d731cc978ecafaeae88f00e80d6e48`,
	},
	{
		name: "draft-mcgrew-gcm-test-01 case 6", suite: AES128GCM16, seq: "1010101010101010",
		key:   "3de09874b388e6491988d0c3607eae1f 57690e43",
		plain: "4500001c42a200008001441f406793b6 e00000020a00f5ff01020201",
		esp: `42f67e3f101010104e280000a2fca1a3 fba2ca845e5df9f0f22c3e6e86dd831e 1fc65792cd1af9130e1379ed369f071f
			35e034be95f112e4e7d05d35`,
	},
	{
		name: "draft-mcgrew-gcm-test-01 case 7", suite: AES192GCM16, seq: "0000000a",
		key:   "feffe9928665731c6d6a8f9467308308 feffe9928665731c cafebabe",
		plain: "45000028a4ad4000400678800a01038f 0a010612802306b8cb712602dd6bb03e 501016d075680001",
		esp: `0000a5f80000000afacedbaddecaf888 a5b1f8066029aea40e598b8122de0242 0938b3ab33f828e687b8858b5bfbdbd0
			315b27452144cc7795457b9652037f53 18027b5b4cd7a636`,
	},
	{
		name: "draft-mcgrew-gcm-test-01 case 8", suite: AES128GCM16, seq: "0000000000000001",
		key: "abbccddef00112233445566778899aab decaf888",
		plain: `4500004933ba00007f119106c3fb1d10 c2b1d326c02831ce0035dd7b800302d5 00004e20001e8c18d75b81dc91baa047
			6b91b924b280389d92c963bac046ec95 9b6266c04722b14923010101`,
		esp: `0000010000000001cafedebaceface74 18a6fd42f72cbf4ab2a2ea901f73d814 e3e7f243d95412e1c349c1d2fbec168f
			9190feebaf2cb01984e65863965d7472 b79da345e0e780191f0d2f0e0f496c22 6f2127b27db35724e7845d68651f57e6
			5f354f75ff17015769623436`,
	},
	{
		name: "draft-mcgrew-gcm-test-01 case 9", suite: AES256GCM16, seq: "156f3126dd0db99b",
		key:   "abbccddef00112233445566778899aab abbccddef00112233445566778899aab 73616c74",
		plain: "45080028732c00004006e9f90a010612 0a01038f06b88023dd6bafbecb712602 50101f646d540001",
		esp: `17405e67dd0db99b616e640169766563 f2d69ecdbd5a0d5b8d5ef38bad4da58d 1f278fde98ef67549d524a3018d9a57f
			f4d3a31ce673119e451626c2415771e3 b7eebca614c89b35`,
	},
	{
		name: "draft-mcgrew-gcm-test-01 case 10", suite: AES128GCM16, seq: "1010101010101010",
		key: "3de09874b388e6491988d0c3607eae1f 57690e43",
		plain: `45000049333e00007f119182c3fb1d10 c2b1d326c02831ce0035cb458003025b 000001e0001e8c18d65759d52284a035
			2c71475c8880391c764d6e5ee0496b32 5ae270c03899493915010101`,
		esp: `42f67e3f101010104e280000a2fca1a3 fba2cad12fc1f9f00d3cebf305410db8 3d7784b607323d220f24b0a97d541828
			00cadb0f68d99ef0e0c0c89ae9bea888 4e52d65bc1afd0740f742444747b5b39 ab533163aad4550ee5160975cdb608c5
			769189609763b8e18caa81e2`,
	},
	{
		name: "draft-mcgrew-gcm-test-01 case 11", suite: AES256GCM16, seq: "156f3126dd0db99b",
		key: "abbccddef00112233445566778899aab abbccddef00112233445566778899aab 73616c74",
		plain: `636973636f0172756c65730174686501 6e6574776501646566696e6501746865 746563686e6f6c6f6769657301746861
			7477696c6c01646566696e65746f6d6f 72726f7701020201`,
		esp: `17405e67dd0db99b616e640169766563 d4b7ed86a1777f2ea13d6973d324c69e 7b43f826fb56831226508bebd2dceb18
			d0a6df10e5487df074113e14c641024e 3e6773d91a62ee429b043a10e3efe6b0 12a49363412364f8c0cac587f249e56b
			11e24f30e44ccc76`,
	},
	{
		name: "draft-mcgrew-gcm-test-01 case 12", suite: AES128GCM16, seq: "ffffffff",
		key:   "7d773d00c144c525ac619d18c84a3f47 d9664267",
		plain: "01020201",
		esp:   "335467aeffffffff43457e9182443bc6 437f866bcb3f699fe9b0822bac961c45 04bef270",
	},
	{
		name: "draft-mcgrew-gcm-test-01 case 13", suite: AES128GCM16, seq: "0000000000000001",
		key:   "abbccddef00112233445566778899aab decaf888",
		plain: "746f016265016f72016e6f7401746f01 62650001",
		esp: `0000010000000001cafedebaceface74 29c9fc69a197d038ccdd14e2ddfcaa05 43332164412503524303ed3c6c5f2838
			43af8c3e`,
	},
	{
		name: "draft-mcgrew-gcm-test-01 case 14", suite: AES256GCM16, seq: "ffffffffffffffff",
		key: "6c6567616c697a656d6172696a75616e 61616e64646f69746265666f72656961 7475726e",
		plain: `45000030da3a00008001df3bc0a80005 c0a800010800c6cd0200070061626364 65666768696a6b6c6d6e6f7071727374
			01020201`,
		esp: `796b6963ffffffff333021696765746d f97ab2aa356d8edce17644ac8c78e25d d24dedbb29ebf1b64a274b39b49c3a86
			4cd3d78ca4ae68a32b42458fb57dbe82 1dcc63b9d0937ba2945f669368661a32 9fb4c053`,
	},
}

// cbcVectors have no ICV: RFC 3602 is about encryption.
var cbcVectors = []vector{
	{
		name: "RFC 3602 section 4 case 7", seq: "00000002", key: "0123456789abcdef0123456789abcdef",
		plain: `45000054090400004001f988c0a87b03 c0a87bc808009f76a90a0100b49c083d 02a2040008090a0b0c0d0e0f10111213
			1415161718191a1b1c1d1e1f20212223 2425262728292a2b2c2d2e2f30313233 343536370102030405060708090a0a04`,
		esp: `0000876500000002f4e765244f6407ad f13dc1380f673f37773b5241a4c44922 5e4f3ce5ed611b0c237ca96cf74a9301
			3c1b0ea1a0cf70f8e4ecaec78ac53aad 7a0f022b859243c647752e94a859352b 8a4d4d2decd136e5c177f132ad3fbfb2
			201ac9904c74ee0a109e0ca1e4dfe9d5 a100b842f1c22f0d`,
	},
	{
		name: "RFC 3602 section 4 case 8", seq: "00000005", key: "0123456789abcdef0123456789abcdef",
		plain: `45000044090c00004001f990c0a87b03 c0a87bc80800d63caa0a0200c69c083d a3de0300ffffffffffffffffffffffff
			ffffffffffffffffffffffffffffffff ffffffff0102030405060708090a0a04`,
		esp: `000087650000000585d47224b5f3dd5d 2101d4ea8dffab2215b92683819596a8 047232cc00f7048fe45318e11f8a0f62
			ede3c3fc61203bb50f980a08c9843fd3 a1b06d5c07ff9639b7eb7dfb3512e5de 435e7207ed971ef3d2726d9b5ef6affc
			6d17a0decbb13892`,
	},
}

// pair returns both halves of the vector's SA, about to seal and to expect its sequence number.
func (v *vector) pair(t *testing.T, key []byte, spi uint32) (*Outbound, *Inbound, uint64) {
	t.Helper()
	digits := unhex(t, v.seq)
	cfg := Config{SPI: 256, Suite: v.suite, Key: key, ESN: len(digits) == 8, ReplayWindow: 64}
	out, err := NewOutbound(cfg)
	if err != nil {
		t.Fatal(err)
	}
	in, err := NewInbound(cfg)
	if err != nil {
		t.Fatal(err)
	}
	seq := binary.BigEndian.Uint64(append(make([]byte, 8-len(digits)), digits...))
	// The vectors have reserved SPIs, IVs lower than the sequence number and the very last numbers, which no SA starts from.
	out.spi = spi
	out.limit.Store(1<<64 - 1)
	out.last.Store(seq - 1)
	in.win.top = seq - 1
	return out, in, seq
}

func TestPublishedAEADPackets(t *testing.T) {
	for _, v := range aeadVectors {
		t.Run(v.name, func(t *testing.T) {
			packet, plain := unhex(t, v.esp), unhex(t, v.plain)
			out, in, seq := v.pair(t, unhex(t, v.key), binary.BigEndian.Uint32(unhex(t, v.esp)))
			next, n := plain[len(plain)-1], len(plain)-2-int(plain[len(plain)-2])
			s := NewScratch()

			out.ivBase = binary.BigEndian.Uint64(packet[8:]) - seq
			run := out.Reserve(1)
			b := make([]byte, out.SealedLen(n))
			copy(b[out.HeaderLen():], plain[:n])
			if got := b[:run.Seal(s, b, n, next)]; !bytes.Equal(got, packet) {
				t.Errorf("sealed\n%x, published\n%x", got, packet)
			}

			for i := range packet {
				bad := bytes.Clone(packet)
				bad[i] ^= 1 << (i % 8)
				if _, v, _ := openOne(in, s, bad); v == OK || v == Dummy || v == BadNextHeader {
					t.Errorf("byte %d changed: %v", i, v)
				}
			}
			// The draft's packets are of transport mode: all is well but the next header.
			want := BadNextHeader
			if next == 4 {
				want = OK
			}
			b = bytes.Clone(packet)
			if _, v, newest := openOne(in, s, b); v != want || !newest {
				t.Errorf("opened: %v, newest %v; want %v", v, newest, want)
			}
			if got := b[16 : len(b)-16]; !bytes.Equal(got, plain) {
				t.Errorf("opened\n%x, published\n%x", got, plain)
			}
			if _, v, _ := openOne(in, s, packet); v != Replayed {
				t.Errorf("opened again: %v", v)
			}
		})
	}
}

func TestPublishedCBCPackets(t *testing.T) {
	for _, v := range cbcVectors {
		t.Run(v.name, func(t *testing.T) {
			v.suite = AES128SHA256
			auth := bytes.Repeat([]byte{0x5a}, sha256.Size)
			packet, plain := unhex(t, v.esp), unhex(t, v.plain)
			out, in, _ := v.pair(t, append(unhex(t, v.key), auth...), binary.BigEndian.Uint32(packet))
			next, n := plain[len(plain)-1], len(plain)-2-int(plain[len(plain)-2])
			mac := hmac.New(sha256.New, auth)
			mac.Write(packet)
			packet = append(packet, mac.Sum(nil)[:16]...)

			s := NewScratch()
			copy(s.random[:], packet[8:24])
			s.used = 0
			run := out.Reserve(1)
			b := make([]byte, out.SealedLen(n))
			copy(b[out.HeaderLen():], plain[:n])
			if got := b[:run.Seal(s, b, n, next)]; !bytes.Equal(got, packet) {
				t.Errorf("sealed\n%x, published, with HMAC,\n%x", got, packet)
			}
			run.End()
			if got, v, _ := openOne(in, s, packet); v != OK || !bytes.Equal(got, plain[:n]) {
				t.Errorf("opened: %v\n%x, published\n%x", v, got, plain[:n])
			}
		})
	}
}
