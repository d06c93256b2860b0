package elf

import (
	"bytes"
	"io"
)

const (
	tarBlock  = 512
	tarMagic  = 257 // where a tar header has its magic, "ustar"
	tarSize   = 124 // the size of a file, 12 bytes, octal
	tarSum    = 148 // the header's checksum, 8 bytes, octal
	scanBlock = 1 << 16
)

// RootOffset tells where an ELF file of size bytes has its appended root archive, or would have
// it: at the first multiple of 512 at or after the last byte that the ELF header, the program
// headers, the section headers, the segments and the sections occupy. The bytes between are zero.
// The archive is a ustar or pax tar file with its two zero blocks at the end; more zeros may follow,
// nothing else.
func RootOffset(r io.ReaderAt, size int64) (int64, error) {
	f, err := open(r, size)
	if err != nil {
		return 0, err
	}
	progs, err := f.progs()
	if err != nil {
		return 0, err
	}
	end, err := f.end(progs)
	return int64(tarUp(end)), err
}

func tarUp(n uint64) uint64 { return (n + tarBlock - 1) &^ (tarBlock - 1) }

// root finds the root archive after the image's end and checks that it is all there.
func (f *file) root(end uint64) (Range, error) {
	if end == f.size {
		return Range{}, nil
	}
	start := tarUp(end)
	if start >= f.size {
		return Range{}, refuse("%d stray bytes after the image", f.size-end)
	}
	if zero, err := f.zero(end, start); err != nil || !zero {
		return Range{}, firstError(err, "stray bytes between image and root archive")
	}
	at, err := f.tarEnd(start)
	if err != nil {
		return Range{}, err
	}
	if zero, err := f.zero(at, f.size); err != nil || !zero {
		return Range{}, firstError(err, "stray bytes after the root archive")
	}
	return Range{Off: start, Len: at - start}, nil
}

func firstError(err error, reason string) error {
	if err != nil {
		return err
	}
	return refuse("%s", reason)
}

// tarEnd goes from header to header and returns the first byte after the archive.
func (f *file) tarEnd(start uint64) (uint64, error) {
	for at := start; ; {
		if !f.has(at, tarBlock) {
			return 0, refuse("truncated: the root archive ends at byte %d without its end mark", f.size)
		}
		h, err := f.read(at, tarBlock)
		if err != nil {
			return 0, err
		}
		if at > start && isZero(h) {
			if !f.has(at, 2*tarBlock) {
				return 0, refuse("truncated: the root archive ends at byte %d without its end mark", f.size)
			}
			zero, err := f.zero(at, at+2*tarBlock)
			if err != nil || !zero {
				return 0, firstError(err, "damaged root archive: something follows its end mark")
			}
			return at + 2*tarBlock, nil
		}
		if string(h[tarMagic:tarMagic+5]) != "ustar" {
			if at == start {
				return 0, refuse("%d bytes after the image, and they are no tar archive", f.size-start)
			}
			return 0, refuse("damaged root archive: no tar header at byte %d", at)
		}
		size, ok := octal(h[tarSize : tarSize+12])
		if sum, sumOK := octal(h[tarSum : tarSum+8]); !ok || !sumOK || sum != checksum(h) {
			return 0, refuse("damaged root archive: bad tar header at byte %d", at)
		}
		at += tarBlock
		if !f.has(at, tarUp(size)) {
			return 0, refuse("truncated: the root archive has a file of %d bytes at byte %d of %d", size, at, f.size)
		}
		at += tarUp(size)
	}
}

// octal reads a number as tar writes it: digits, led by spaces, ended by a space or NUL.
func octal(p []byte) (n uint64, ok bool) {
	p = bytes.TrimLeft(p, " ")
	for _, c := range p {
		if c == ' ' || c == 0 {
			break
		}
		if c < '0' || c > '7' {
			return 0, false
		}
		n = n<<3 | uint64(c-'0')
	}
	return n, true
}

// checksum is the sum of a tar header's bytes, its own field counted as spaces.
func checksum(h []byte) (n uint64) {
	for i, c := range h {
		if i >= tarSum && i < tarSum+8 {
			c = ' '
		}
		n += uint64(c)
	}
	return n
}

// zero tells whether all bytes from one offset to another are zero.
func (f *file) zero(from, to uint64) (bool, error) {
	for from < to {
		p, err := f.read(from, min(to-from, scanBlock))
		if err != nil || !isZero(p) {
			return false, err
		}
		from += uint64(len(p))
	}
	return true, nil
}

func isZero(p []byte) bool {
	for _, c := range p {
		if c != 0 {
			return false
		}
	}
	return true
}
