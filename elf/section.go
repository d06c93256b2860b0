package elf

// Section types and flags.
const (
	sectionNull       = 0
	sectionSymtab     = 2
	sectionStrtab     = 3
	sectionNote       = 7
	sectionNobits     = 8     // has no bytes in the file
	sectionExec       = 4     // flag
	sectionCompressed = 0x800 // flag
)

// section is a section header whose bytes lie in the file.
type section struct {
	typ   uint32
	flags uint64
	va    uint64
	off   uint64
	size  uint64
	link  uint32
	align uint64
	name  uint32 // where it begins in the strings of section names
}

func (f *file) sections() ([]section, error) {
	table, err := f.read(f.shoff, f.shnum*sectionSize)
	if err != nil {
		return nil, err
	}
	secs := make([]section, f.shnum)
	for i := range secs {
		h := table[i*sectionSize:]
		s := section{
			typ:   le.Uint32(h[4:]),
			flags: le.Uint64(h[8:]),
			va:    le.Uint64(h[16:]),
			off:   le.Uint64(h[24:]),
			size:  le.Uint64(h[32:]),
			link:  le.Uint32(h[40:]),
			align: le.Uint64(h[48:]),
			name:  le.Uint32(h),
		}
		if s.inFile() && !f.has(s.off, s.size) {
			return nil, refuse("truncated: section %d has %d bytes at byte %d of %d", i, s.size, s.off, f.size)
		}
		secs[i] = s
	}
	return secs, nil
}

func (s *section) inFile() bool { return s.typ != sectionNull && s.typ != sectionNobits }

// end is the first byte after everything that the headers speak of.
func (f *file) end(progs []prog) (uint64, error) {
	secs, err := f.sections()
	if err != nil {
		return 0, err
	}
	end := max(headerSize, f.phoff+f.phnum*progSize, f.shoff+f.shnum*sectionSize)
	for _, p := range progs {
		end = max(end, p.off+p.filesz)
	}
	for _, s := range secs {
		if s.inFile() {
			end = max(end, s.off+s.size)
		}
	}
	return end, nil
}
