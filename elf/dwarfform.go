package elf

// Forms of attributes (DWARF 5, 7.5.6).
const (
	formAddr       = 0x01
	formBlock2     = 0x03
	formBlock4     = 0x04
	formData2      = 0x05
	formData4      = 0x06
	formData8      = 0x07
	formString     = 0x08
	formBlock      = 0x09
	formBlock1     = 0x0a
	formData1      = 0x0b
	formFlag       = 0x0c
	formSdata      = 0x0d
	formStrp       = 0x0e
	formUdata      = 0x0f
	formRefAddr    = 0x10
	formRef1       = 0x11
	formRef2       = 0x12
	formRef4       = 0x13
	formRef8       = 0x14
	formRefUdata   = 0x15
	formSecOffset  = 0x17
	formExprloc    = 0x18
	formPresent    = 0x19
	formData16     = 0x1e
	formLineStrp   = 0x1f
	formImplicit   = 0x21
	formLoclistx   = 0x22
	formRnglistx   = 0x23
	formStrx       = 0x1a
	formAddrx      = 0x1b
	formStrx1      = 0x25
	formAddrx4     = 0x2c
	formRefSup4    = 0x1c
	formStrpSup    = 0x1d
	formRefSup8    = 0x24
	formRefSig8    = 0x20
	formGNURefAlt  = 0x1f20
	formGNUStrpAlt = 0x1f21
)

// cursor reads forward, and remembers that it came to the end.
type cursor struct {
	p       []byte
	at, end uint64
	bad     bool
}

// take is the next n bytes.
func (c *cursor) take(n uint64) []byte {
	if c.bad || n > c.end-c.at {
		c.bad = true
		return nil
	}
	c.at += n
	return c.p[c.at-n : c.at]
}

// fixed is a number of 1 to 8 bytes, or 0 at the end.
func (c *cursor) fixed(n uint64) (v uint64) {
	for i, b := range c.take(n) {
		v |= uint64(b) << (8 * i)
	}
	return v
}

// leb reads a LEB128 number; bits that do not fit are an error.
func (c *cursor) leb(signed bool) (v uint64) {
	for shift := 0; ; shift += 7 {
		p := c.take(1)
		if p == nil {
			return 0
		}
		if shift > 63 {
			c.bad = true
			return 0
		}
		v |= uint64(p[0]&0x7f) << shift
		if p[0]&0x80 == 0 {
			if signed && p[0]&0x40 != 0 && shift+7 < 64 {
				v |= ^uint64(0) << (shift + 7)
			}
			return v
		}
	}
}

func (c *cursor) uleb() uint64 { return c.leb(false) }
func (c *cursor) sleb() uint64 { return c.leb(true) }

// value is one attribute's: a number, an offset of .debug_info if ref, bytes if block, a name.
type value struct {
	n          uint64
	text       string
	bytes      []byte
	ref, block bool
}

// offset is a number, or an expression that adds one.
func (v *value) offset() (uint64, bool) {
	if !v.block {
		return v.n, !v.ref
	}
	if len(v.bytes) == 0 || v.bytes[0] != opPlusUconst {
		return 0, false
	}
	c := &cursor{v.bytes, 1, uint64(len(v.bytes)), false}
	n := c.uleb()
	return n, !c.bad && c.at == c.end
}

// value reads an attribute's. base is where its unit begins.
func (d *dwarf) value(c *cursor, a *attribute, base, version uint64) (v value, err error) {
	switch a.form {
	case formData1, formFlag:
		v.n = c.fixed(1)
	case formData2:
		v.n = c.fixed(2)
	case formData4, formSecOffset:
		v.n = c.fixed(4)
	case formData8, formAddr:
		v.n = c.fixed(8)
	case formData16:
		c.take(16)
	case formUdata, formLoclistx, formRnglistx, formAddrx:
		v.n = c.uleb()
	case formSdata:
		v.n = c.sleb()
	case formImplicit:
		v.n = a.value
	case formPresent:
		v.n = 1
	case formString:
		v.text = text(d.info[:c.end], c.at)
		for {
			if p := c.take(1); p == nil || p[0] == 0 {
				break
			}
		}
	case formStrp:
		v.text = text(d.str, c.fixed(4))
	case formLineStrp:
		v.text = text(d.lineStr, c.fixed(4))
	case formBlock1:
		v.block, v.bytes = true, c.take(c.fixed(1))
	case formBlock2:
		v.block, v.bytes = true, c.take(c.fixed(2))
	case formBlock4:
		v.block, v.bytes = true, c.take(c.fixed(4))
	case formBlock, formExprloc:
		v.block, v.bytes = true, c.take(c.uleb())
	case formRef1:
		v.ref, v.n = true, base+c.fixed(1)
	case formRef2:
		v.ref, v.n = true, base+c.fixed(2)
	case formRef4:
		v.ref, v.n = true, base+c.fixed(4)
	case formRef8:
		v.ref, v.n = true, base+c.fixed(8)
	case formRefUdata:
		v.ref, v.n = true, base+c.uleb()
	case formRefAddr:
		size := uint64(4)
		if version == 2 {
			size = 8 // that of an address
		}
		v.ref, v.n = true, c.fixed(size)
	case formRefSig8:
		return v, refuse("debug information with type units: build it with -fno-debug-types-section")
	case formRefSup4, formStrpSup, formRefSup8, formGNURefAlt, formGNUStrpAlt:
		return v, refuse("debug information that is partly in another file: keep it as the compiler made it, without dwz")
	default:
		if a.form >= formStrx1 && a.form <= formAddrx4 || a.form == formStrx {
			return v, refuse("debug information with indexed strings: build it with -gdwarf-4")
		}
		return v, refuse("debug information with an unknown form, %#x: build it with -gdwarf-4", a.form)
	}
	if c.bad {
		return v, errDwarf
	}
	return v, nil
}
