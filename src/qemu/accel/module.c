/*
 * The qtest accelerator as a module for a stock QEMU that knows of it but lacks the file.
 *
 * Compiled by bring.rs, once for each build of QEMU, with -DSTAMP=qemu_stamp_<hash> (QEMU
 * takes a module only if it exports the stamp of that very build) and -DVERSION=<major *
 * 100 + minor>. No header of QEMU is needed: the two classes that must be filled grew from
 * version to version, but each tells its size at run time, and `layouts` knows by size and
 * version where the few slots used here are. 64-bit hosts. QEMU keeps its own names.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(sizeof(void *) == 8, "the layouts of 64-bit hosts are known, no others");

enum { MODULE_INIT_QOM = 3 };

typedef struct TypeInfo {
    const char *name, *parent;
    size_t instance_size, instance_align;
    void *instance_init, *instance_post_init, *instance_finalize;
    _Bool abstract;
    size_t class_size;
    void (*class_init)(void *klass, const void *data);
    void *class_base_init;
    const void *class_data;
    const void *interfaces;
} TypeInfo;

/* What every class begins with: a pointer to its type, which opens with name and size. */
typedef struct { const char *name; size_t class_size; } Type;
typedef struct { const Type *type; } Class;

extern const Class *object_class_by_name(const char *name);
extern void *type_register_static(const TypeInfo *info);
extern void register_dso_module_init(void (*fn)(void), int type);

extern _Bool qtest_allowed;
extern void dummy_start_vcpu_thread(void *cpu);

/* Not every version exports these: absent ones are null. */
extern __attribute__((weak)) int64_t qtest_get_virtual_clock(void);              /* to 9.0 */
extern __attribute__((weak)) void generic_handle_interrupt(void *cpu, int mask); /* from 10.1 */

/* From 9.1 on the clock is the accelerator's. */
static int64_t clock_ns;

static int64_t get_virtual_clock(void)
{
    return __atomic_load_n(&clock_ns, __ATOMIC_SEQ_CST);
}

static void set_virtual_clock(int64_t ns)
{
    __atomic_store_n(&clock_ns, ns, __ATOMIC_SEQ_CST);
}

static int init_machine(void *a, void *b)
{
    (void)a, (void)b;
    return 0;
}

/*
 * AccelClass is name, [ops,] init_machine, hooks, allowed, compat_props. AccelOpsClass is
 * ops_init, hooks, create_vcpu_thread, hooks, handle_interrupt, [get_vcpu_stats,]
 * get_virtual_clock, [set_virtual_clock,] hooks. Sizes and places are slots of eight bytes,
 * after what every class begins with.
 */
static const struct layout {
    unsigned since;
    size_t accel_slots, ops_slots, init_machine;
    size_t create_vcpu_thread, handle_interrupt, get_virtual_clock;
} layouts[] = {
    { 1100, 12, 20, 2, 4, 11, 13 }, /* 11.1 tried */
    { 1100, 13, 21, 2, 4, 11, 13 }, /* not tried: 11.0, between its neighbours */
    { 1001, 12, 20, 2, 3, 10, 12 }, /* 10.1, 10.2 tried */
    { 901, 9, 20, 1, 3, 11, 12 },   /* 9.2, 10.0 tried */
    { 802, 9, 19, 1, 3, 11, 12 },   /* 8.2 tried */
    { 800, 7, 18, 1, 2, 10, 11 },   /* not tried */
    { 702, 7, 17, 1, 2, 10, 11 },   /* 7.2 tried */
    { 700, 7, 13, 1, 2, 10, 11 },   /* not tried */
    { 700, 6, 13, 1, 2, 10, 11 },   /* not tried */
    { 700, 6, 12, 1, 2, 9, 10 },    /* not tried */
    { 601, 6, 10, 1, 1, 7, 8 },     /* 6.2 tried */
};

static _Noreturn void unfit(const char *what, size_t size)
{
    fprintf(stderr, "qgraph: the qtest accelerator brought to this QEMU does not fit it "
            "(%s: %zu)\n", what, size);
    exit(1);
}

/* Slots in a class, once it is certain that its type is read rightly. */
static size_t slots(const char *name)
{
    const Class *klass = object_class_by_name(name);
    const Type *type = klass ? klass->type : NULL;

    if (!type || strcmp(type->name, name) || type->class_size % sizeof(void *)) {
        unfit(name, type ? type->class_size : 0);
    }
    return type->class_size / sizeof(void *);
}

/* The layout of this QEMU, its places counted from the start of the class. */
static struct layout layout(void)
{
    size_t own = slots("object"), i, n = sizeof layouts / sizeof *layouts;
    size_t accel = slots("accel") - own, ops = slots("accel-ops") - own;
    struct layout l = layouts[0];

    for (i = 0; i < n; i++) {
        if (layouts[i].since <= VERSION && layouts[i].accel_slots == accel &&
            layouts[i].ops_slots == ops) {
            l = layouts[i];
            break;
        }
    }
    if (i == n) {
        /* Sizes not known: as the newest, whose hooks were last added at the front. */
        if (accel < 10 || ops < l.ops_slots) {
            unfit("AccelOpsClass", ops);
        }
        l.create_vcpu_thread += ops - l.ops_slots;
        l.handle_interrupt += ops - l.ops_slots;
        l.get_virtual_clock += ops - l.ops_slots;
    }
    l.accel_slots = own + accel;
    l.init_machine += own;
    l.create_vcpu_thread += own;
    l.handle_interrupt += own;
    l.get_virtual_clock += own;
    return l;
}

static void accel_class_init(void *klass, const void *data)
{
    const void **slot = klass;
    struct layout l = layout();

    (void)data;
    slot[slots("object")] = "QTest";
    slot[l.init_machine] = init_machine;
    slot[l.accel_slots - 2] = &qtest_allowed;
}

static void accel_ops_class_init(void *klass, const void *data)
{
    const void **slot = klass;
    struct layout l = layout();

    (void)data;
    slot[l.create_vcpu_thread] = dummy_start_vcpu_thread;
    slot[l.handle_interrupt] = generic_handle_interrupt;
    slot[l.get_virtual_clock] = qtest_get_virtual_clock;
    if (!qtest_get_virtual_clock) {
        slot[l.get_virtual_clock] = get_virtual_clock;
        slot[l.get_virtual_clock + 1] = set_virtual_clock;
    }
}

static void register_types(void)
{
    static const TypeInfo accel = {
        .name = "qtest-accel", .parent = "accel", .class_init = accel_class_init,
    };
    static const TypeInfo ops = {
        .name = "qtest-accel-ops", .parent = "accel-ops", .abstract = 1,
        .class_init = accel_ops_class_init,
    };

    type_register_static(&accel);
    type_register_static(&ops);
}

/* What QEMU looks for in a module. */
void STAMP(void) {}
void qemu_module_dummy(void) {}

static void __attribute__((constructor)) load(void)
{
    register_dso_module_init(register_types, MODULE_INIT_QOM);
}
