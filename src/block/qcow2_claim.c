/*
 * Claims: which guest bytes the requests under way use. Claims that overlap, one of them exclusive, go one
 * after the other in the order in which they were made; all others go side by side. A request holds one at a
 * time, so nobody waits in a circle.
 */
#include "block/qcow2_impl.h"

void qcow2_claims_init(struct claims *c)
{
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->released, NULL);
    c->head.next = c->head.prev = &c->head;
}

void qcow2_claims_finish(struct claims *c)
{
    pthread_mutex_destroy(&c->lock);
    pthread_cond_destroy(&c->released);
}

/* Does `claim` have to wait for one of those before `end`? */
static bool is_blocked(const struct claims *c, const struct block_claim *claim, const struct block_claim *end)
{
    if (!c->exclusive && !claim->exclusive)
        return false;
    for (const struct block_claim *e = c->head.next; e != end; e = e->next)
        if ((e->exclusive || claim->exclusive) && e->first <= claim->last && claim->first <= e->last)
            return true;
    return false;
}

static void append(struct claims *c, struct block_claim *claim)
{
    claim->next = &c->head;
    claim->prev = c->head.prev;
    claim->prev->next = claim;
    c->head.prev = claim;
    c->exclusive += claim->exclusive;
}

bool qcow2_claim_try(struct qcow2 *q, struct block_claim *claim, u64 offset, u64 len)
{
    struct claims *c = &q->claims;
    *claim = (struct block_claim){.first = offset, .last = offset + len - 1};
    pthread_mutex_lock(&c->lock);
    bool blocked = is_blocked(c, claim, &c->head);
    if (!blocked)
        append(c, claim);
    pthread_mutex_unlock(&c->lock);
    return !blocked;
}

static void claim_wait(struct claims *c, struct block_claim *claim)
{
    pthread_mutex_lock(&c->lock);
    append(c, claim);
    c->waiting++;
    while (is_blocked(c, claim, claim))
        pthread_cond_wait(&c->released, &c->lock);
    c->waiting--;
    pthread_mutex_unlock(&c->lock);
}

void qcow2_claim(struct qcow2 *q, struct block_claim *claim, u64 offset, u64 len)
{
    *claim = (struct block_claim){.first = offset, .last = offset + len - 1};
    claim_wait(&q->claims, claim);
}

void qcow2_claim_clusters(struct qcow2 *q, struct block_claim *claim, u64 offset, u64 len)
{
    u64 first = ALIGN_DOWN(offset, q->cluster_size), end = ALIGN_UP(offset + len, q->cluster_size);
    *claim = (struct block_claim){.first = first, .last = end - 1, .exclusive = true};
    claim_wait(&q->claims, claim);
}

void qcow2_release(struct qcow2 *q, struct block_claim *claim)
{
    struct claims *c = &q->claims;
    pthread_mutex_lock(&c->lock);
    claim->prev->next = claim->next;
    claim->next->prev = claim->prev;
    c->exclusive -= claim->exclusive;
    if (c->waiting)
        pthread_cond_broadcast(&c->released);
    pthread_mutex_unlock(&c->lock);
}
