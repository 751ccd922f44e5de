//! Tests in C, and the requests they make.

use super::super::text;
use super::*;

fn read(text: &str) -> Vec<Result<Test, (usize, String)>> {
    super::read(&text::lines(text))
}

/// The requests of a body of a test.
fn requests(body: &str) -> Vec<String> {
    let text =
        format!("static void test(void)\n{{\nQTestState *s = qtest_init(\"-M x\");\n{body}\n}}\n");
    let test = read(&text).remove(0);
    test.unwrap_or_else(|(row, why)| panic!("{row}: {why}")).requests
}

/// Why the body of a test cannot be read.
fn refused(body: &str) -> String {
    let text =
        format!("static void test(void)\n{{\nQTestState *s = qtest_init(\"-M x\");\n{body}\n}}\n");
    read(&text).remove(0).expect_err(body).1
}

/// Would catch a function of the library that makes another request, or none.
#[test]
fn the_library() {
    let cases = [
        ("qtest_outl(s, 0xcf8, 0x80001010);", "outl 0xcf8 0x80001010"),
        ("qtest_readw(s, 16);", "readw 0x10"),
        ("qtest_writeq(s, 0x10, ~0ULL);", "writeq 0x10 0xffffffffffffffff"),
        ("qtest_bufwrite(s, 0x1, \"\\x05\\x00\", 2);", "write 0x1 0x2 0x0500"),
        ("qtest_memwrite(s, 0x1, \"ab\", 0x3);", "write 0x1 0x3 0x616200"),
        ("qtest_memset(s, 0x1, 0xff, 0x20);", "memset 0x1 0x20 0xff"),
        ("qtest_memread(s, 0x1, buf, 4);", "read 0x1 0x4"),
        ("qtest_clock_step(s, 100 * 1000);", "clock_step 100000"),
        ("qtest_clock_step_next(s);", "clock_step"),
        ("qtest_clock_set(s, 5);", "clock_set 5"),
        ("qtest_irq_intercept_in(s, \"/m/x\");", "irq_intercept_in /m/x"),
        ("qtest_set_irq_in(s, \"/m/x\", \"n\", 1, 0);", "set_irq_in /m/x n 1 0"),
        ("qtest_qmp(s, \"{'execute': 'stop'}\");", "{\"execute\":\"stop\"}"),
        ("outb(0x70, 1);", "outb 0x70 0x1"),
    ];
    for (call, request) in cases {
        let declared = format!("uint8_t buf[8];\n{call}");
        assert_eq!(requests(&declared), [request], "{call}");
    }
}

/// Would catch a value that is calculated wrongly, an array whose bytes are in another
/// order, and helpers and macros that are not followed.
#[test]
fn values() {
    let body = "uint32_t base = 0x1000, i;\nuint16_t words[] = { 1, 0x203 };\n\
                const char *name = \"ab\" \"c\";\nbase |= 1 << 4;\n\
                qtest_writel(s, base + 4 * 2, (uint8_t)0x1ff);\n\
                qtest_memwrite(s, base, words, sizeof(words));\n\
                qtest_bufwrite(s, 0, name, 3);\n\
                qtest_writeb(s, base == 0x1010 ? 1 : 2, words[1]);\n\
                g_assert_cmpint(qtest_readl(s, 8), ==, 3);\n\
                if (base) { qtest_inb(s, 1); } else { qtest_inb(s, 2); }";
    assert_eq!(
        requests(body),
        [
            "writel 0x1018 0xff",
            "write 0x1010 0x4 0x01000302",
            "write 0x0 0x3 0x616263",
            "writeb 0x1 0x203",
            "readl 0x8",
            "inb 0x1",
        ]
    );
    let text = "#define BASE 0x100\n#define PUT(s, at, value) \\\n    qtest_writeb(s, BASE + (at), value)\n\
                static void twice(QTestState *s, int at)\n{\n    PUT(s, at, 1); PUT(s, at, 2);\n}\n\
                static void test(void) {\n  QTestState *s;\n  s = qtest_initf(\"-M %s -m %dM\", \"x\", 64);\n\
                twice(s, 3);\n  qtest_quit(s);\n  qtest_inb(s, 1);\n}\n\
                int main(void) { if (strcmp(arch, \"arm\") == 0) { } }\n";
    let test = read(text).remove(0).unwrap();
    assert_eq!(test.requests, ["writeb 0x103 0x1", "writeb 0x103 0x2"]);
    assert_eq!(test.arguments.as_deref(), Some("-M x -m 64M"));
    assert_eq!(test.targets, ["arm"]);
}

/// Would catch loops that are gone through too often or too seldom, and a loop that waits
/// for QEMU and is taken for one that ends.
#[test]
fn loops() {
    assert_eq!(
        requests("for (int i = 0; i < 6; i += 2) { if (i == 4) break; qtest_inb(s, i); }"),
        ["inb 0x0", "inb 0x2"]
    );
    assert_eq!(
        requests("int i = 3; while (i--) qtest_inb(s, i);"),
        ["inb 0x2", "inb 0x1", "inb 0x0"]
    );
    assert_eq!(requests("int i = 0; do { qtest_inb(s, i); } while (++i < 2);").len(), 2);
    assert!(refused("while (qtest_readl(s, 0) & 1) { }").contains("depends on what QEMU answers"));
    assert!(refused("for (;;) { qtest_inb(s, 1); }").contains("too long"));
    assert!(
        refused("qtest_outl(s, 1, qtest_inl(s, 2));").contains("depends on what QEMU answered")
    );
    assert!(refused("QPCIBus *b = qpci_init_pc(s, NULL);").contains("`qpci_init_pc` is none of"));
    assert!(refused("qpci_map(s);").contains("`qpci_map` is none of the functions"));
    assert!(refused("qtest_hmp(s, \"x\");").contains("human monitor"));
}

/// Would catch tests that are found twice, helpers that are taken for tests, and statements
/// of a mail that stand in no function.
#[test]
fn which_tests() {
    let text = "static QTestState *start(const char *extra)\n{\n    return qtest_initf(\"-M x %s\", extra);\n}\n\
                static void a(void)\n{\n    QTestState *s = qtest_init(\"\");\n    qtest_inb(s, 1);\n}\n\
                static void b(void) { QTestState *s = qtest_init(\"\"); qtest_inb(s, 2); }int main(void)\n\
                {\n    qtest_add_func(\"a\", a);\n}\n";
    let names: Vec<_> = read(text).into_iter().map(|test| test.unwrap().name).collect();
    assert_eq!(names, ["a", "b"]);
    let loose = "Like this:\n  QTestState *s = qtest_init(\"-M x\");\n  qtest_inb(s, 1);\n  qtest_quit(s);\nIt dies.\n";
    assert_eq!(read(loose).remove(0).unwrap().requests, ["inb 0x1"]);
}
