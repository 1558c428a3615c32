package privacy

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"html/template"
	"strings"
)

// A document is what is published, before it is a page or a file: both are made
// of the same sentences.
type document struct {
	Title    string
	Sections []*section
}

type section struct {
	Title  string
	Blocks []block
}

// A block is a paragraph, a table, or lines to type. It has one of the three.
type block struct {
	Text  string
	Table *table
	Lines []string
}

type table struct {
	Head []string
	Rows [][]cell
	Wide bool // has sentences, so that on a narrow screen its cells stand below each other
}

// A cell is text. Code marks what is a name or is typed. In place of text a cell may
// hold a bar, which draws a number that stands beside it; only pages have them.
type cell struct {
	Text string
	Code bool
	Bar  int // percent of the largest in the table; 0 for none
}

func text(s string) cell { return cell{Text: s} }
func code(s string) cell { return cell{Text: s, Code: true} }

// bar draws n beside others of which most is the largest.
func bar(n, most int64) cell {
	if most <= 0 {
		return cell{}
	}
	return cell{Bar: int(100 * n / most)}
}

func (d *document) section(title string) *section {
	s := &section{Title: title}
	d.Sections = append(d.Sections, s)
	return s
}

func (s *section) say(text string) { s.Blocks = append(s.Blocks, block{Text: text}) }

func (s *section) lines(lines ...string) { s.Blocks = append(s.Blocks, block{Lines: lines}) }

func (s *section) table(head ...string) *table {
	t := &table{Head: head}
	s.Blocks = append(s.Blocks, block{Table: t})
	return t
}

func (t *table) row(cells ...cell) { t.Rows = append(t.Rows, cells) }

// markdown writes the document as Markdown. Nothing in a text is markup.
func (d *document) markdown() []byte {
	var b bytes.Buffer
	b.WriteString("# " + escape(d.Title) + "\n")
	for _, s := range d.Sections {
		if s.Title != "" {
			b.WriteString("\n## " + escape(s.Title) + "\n")
		}
		for _, block := range s.Blocks {
			b.WriteByte('\n')
			switch {
			case block.Table != nil:
				block.Table.markdown(&b)
			case block.Lines != nil:
				for _, line := range block.Lines {
					b.WriteString("    " + line + "\n")
				}
			default:
				b.WriteString(escape(block.Text) + "\n")
			}
		}
	}
	return b.Bytes()
}

func (t *table) markdown(b *bytes.Buffer) {
	b.WriteString("| " + strings.Join(t.Head, " | ") + " |\n" + strings.Repeat("|---", len(t.Head)) + "|\n")
	for _, row := range t.Rows {
		for _, c := range row {
			b.WriteString("| ")
			if c.Code {
				// The names of a plan have no backtick.
				b.WriteString("`" + strings.ReplaceAll(c.Text, "|", `\|`) + "` ")
			} else {
				b.WriteString(escape(c.Text) + " ")
			}
		}
		b.WriteString("|\n")
	}
}

// escape makes every character of a text stand for itself in Markdown: facts are
// the maintainer's words, and may well have a star in them.
func escape(s string) string {
	var b strings.Builder
	begins := true // nothing but digits so far: what follows could make it a list
	for i, r := range s {
		switch r {
		case '\\', '`', '*', '_', '[', ']', '<', '>', '|', '&', '~':
			b.WriteByte('\\')
		case '#', '+', '-', '=':
			if i == 0 { // it would begin a heading or a list
				b.WriteByte('\\')
			}
		case '.', ')':
			if i > 0 && begins {
				b.WriteByte('\\')
			}
		case '\n':
			r = ' '
		}
		begins = begins && r >= '0' && r <= '9'
		b.WriteRune(r)
	}
	return b.String()
}

var (
	//go:embed page.html
	pageHTML string

	//go:embed page.css
	pageCSS string

	page = template.Must(template.New("page").Parse(pageHTML))
)

// Policy is the content security policy that goes with every page: its one style
// sheet, by its hash, and nothing else.
var Policy = func() string {
	sum := sha256.Sum256([]byte(pageCSS))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}()

// html writes the document as a page.
func (d *document) html() []byte {
	var b bytes.Buffer
	err := page.Execute(&b, struct {
		*document
		Style template.CSS
	}{d, template.CSS(pageCSS)})
	if err != nil {
		panic(err) // the template and the document belong together
	}
	return b.Bytes()
}
