package config

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// A list is written as one value, or as several in brackets.
type list []string

// UnmarshalYAML reads a scalar as a list of one.
func (l *list) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		*l = list{n.Value}
		return nil
	}
	return n.Decode((*[]string)(l))
}

// byBoard is a map from board to value. One value for every board is under "".
type byBoard map[string]string

// UnmarshalYAML reads a scalar as the value for every board.
func (b *byBoard) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		*b = byBoard{"": n.Value}
		return nil
	}
	return n.Decode((*map[string]string)(b))
}

// UnmarshalYAML reads a scalar as the address to listen on.
func (t *rawTFTP) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		t.Listen = n.Value
		return nil
	}
	type keys rawTFTP
	return n.Decode((*keys)(t))
}

// decode reads text into r. An unknown key is an error. It names the line and
// the known keys.
func decode(text []byte, r *raw) (*yaml.Node, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return nil, err
	}
	if len(doc.Content) == 0 {
		return &doc, nil
	}
	root := doc.Content[0]
	if root.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("line %d: want keys and values, such as `root: /srv/boot`", root.Line)
	}
	if err := checkKeys(root, reflect.TypeFor[raw](), ""); err != nil {
		return nil, err
	}
	return root, root.Decode(r)
}

// checkKeys compares a node with the type that it is decoded into. The library's
// strict mode skips types that decode themselves. Its errors name Go types.
func checkKeys(n *yaml.Node, t reflect.Type, path string) error {
	if n.Kind == yaml.AliasNode {
		return checkKeys(n.Alias, t, path)
	}
	if want := wantedForm(n.Kind, t); want != "" && n.Tag != "!!null" {
		return fmt.Errorf("line %d: %s: want %s", n.Line, path, want)
	}
	switch {
	case t.Kind() == reflect.Slice && n.Kind == yaml.SequenceNode:
		for i, item := range n.Content {
			if err := checkKeys(item, t.Elem(), path+"["+strconv.Itoa(i)+"]"); err != nil {
				return err
			}
		}
	case t.Kind() == reflect.Map && n.Kind == yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			if err := checkKeys(n.Content[i+1], t.Elem(), keyPath(path, n.Content[i].Value)); err != nil {
				return err
			}
		}
	case t.Kind() == reflect.Struct && n.Kind == yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := n.Content[i]
			field, names := fieldOf(t, key.Value)
			if field == nil {
				return fmt.Errorf("line %d: %s: unknown key%s; known here: %s", key.Line, keyPath(path, key.Value), hint(path, key.Value), strings.Join(names, ", "))
			}
			if err := checkKeys(n.Content[i+1], field, keyPath(path, key.Value)); err != nil {
				return err
			}
		}
	}
	return nil
}

// wantedForm says how a value of type t is written, "" if kind fits.
func wantedForm(kind yaml.Kind, t reflect.Type) string {
	switch {
	case t == reflect.TypeFor[list]():
		if kind == yaml.MappingNode {
			return "one value, or several in brackets"
		}
	case t == reflect.TypeFor[byBoard]():
		if kind == yaml.SequenceNode {
			return "one value, or a map from board to value"
		}
	case t == reflect.TypeFor[rawTFTP]():
		if kind == yaml.SequenceNode {
			return "an address, or keys and values"
		}
	case t.Kind() == reflect.Slice:
		if kind != yaml.SequenceNode {
			return "a list"
		}
	case t.Kind() == reflect.Struct || t.Kind() == reflect.Map:
		if kind != yaml.MappingNode {
			return "keys and values"
		}
	default:
		if kind != yaml.ScalarNode {
			return "one value"
		}
	}
	return ""
}

// hint names the right place for a key that is often misplaced.
func hint(path, key string) string {
	if strings.HasPrefix(path, "profiles[") && slices.Contains([]string{"overwrite", "min", "max", "wwn", "model"}, key) {
		return ", it belongs under disk"
	}
	return ""
}

func fieldOf(t reflect.Type, key string) (reflect.Type, []string) {
	var names []string
	for i := range t.NumField() {
		name := t.Field(i).Tag.Get("yaml")
		if name == key {
			return t.Field(i).Type, nil
		}
		names = append(names, name)
	}
	return nil, names
}

func keyPath(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// lineOf returns the line of a path such as dhcp.hosts[2].mac. If that is not
// in the file, it returns the line of the nearest parent. Without a file it
// returns 0.
func lineOf(n *yaml.Node, path string) int {
	if n == nil {
		return 0
	}
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	step := strings.TrimPrefix(path, ".")
	if step == "" {
		return n.Line
	}
	if n.Kind == yaml.SequenceNode && step[0] == '[' {
		number, rest, _ := strings.Cut(step[1:], "]")
		if i, err := strconv.Atoi(number); err == nil && i < len(n.Content) {
			return lineOf(n.Content[i], rest)
		}
	}
	if n.Kind == yaml.MappingNode {
		end := strings.IndexAny(step, ".[")
		if end < 0 {
			end = len(step)
		}
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == step[:end] {
				return lineOf(n.Content[i+1], step[end:])
			}
		}
	}
	return n.Line
}
