// The thread pool: every index is visited once, for all sizes; and what happens when a body throws.
#include "bitlog2/parallel.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <atomic>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace bitlog2 {
namespace {

/// Counts how often each index was visited, and keeps the longest range.
struct Visits {
  explicit Visits(std::size_t count) : times(count) {}

  void visit(std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i) {
      ++times[i];
    }
    std::size_t seen = longest;
    while (end - begin > seen && !longest.compare_exchange_weak(seen, end - begin)) {
    }
    empty_ranges += begin >= end ? 1 : 0;
  }

  bool all_once() const {
    return std::ranges::all_of(times, [](const auto& count) { return count == 1; });
  }

  std::vector<std::atomic<int>> times;
  std::atomic<std::size_t> longest = 0;
  std::atomic<int> empty_ranges = 0;
};

RC_GTEST_PROP(ThreadPoolProperty, VisitsEveryIndexOnce, ()) {
  const auto count = *rc::gen::inRange<std::size_t>(0, 3000);
  const auto grain = *rc::gen::inRange<std::size_t>(0, 200);
  const auto threads = *rc::gen::inRange<std::size_t>(0, 9);
  ThreadPool pool(threads);
  Visits visits(count);
  pool.parallel_for(count, grain,
                    [&](std::size_t begin, std::size_t end) { visits.visit(begin, end); });
  RC_ASSERT(visits.all_once());
  RC_ASSERT(visits.empty_ranges == 0);
  RC_ASSERT(visits.longest <= std::max<std::size_t>(grain, 1));
}

TEST(ThreadPool, CountsTheCallingThread) {
  EXPECT_EQ(ThreadPool(0).size(), 1U);
  EXPECT_EQ(ThreadPool(1).size(), 1U);
  EXPECT_EQ(ThreadPool(3).size(), 3U);
}

TEST(ThreadPool, OfOneThreadRunsInTheCallerInOrder) {
  ThreadPool pool(1);
  const std::thread::id caller = std::this_thread::get_id();
  std::vector<std::size_t> begins;
  pool.parallel_for(7, 3, [&](std::size_t begin, std::size_t) {
    EXPECT_EQ(std::this_thread::get_id(), caller);
    begins.push_back(begin);
  });
  EXPECT_EQ(begins, (std::vector<std::size_t>{0, 3, 6}));
}

TEST(ThreadPool, IsReusable) {
  ThreadPool pool(4);
  std::atomic<std::size_t> sum = 0;
  for (std::size_t round = 0; round < 500; ++round) {
    pool.parallel_for(round % 40, 1, [&](std::size_t begin, std::size_t) { sum += begin + 1; });
  }
  std::size_t expected = 0;
  for (std::size_t round = 0; round < 500; ++round) {
    expected += (round % 40) * (round % 40 + 1) / 2;
  }
  EXPECT_EQ(sum, expected);
}

TEST(ThreadPool, RethrowsWhatABodyThrowsAndGoesOn) {
  for (const std::size_t threads : {1U, 2U, 5U}) {
    ThreadPool pool(threads);
    for (const std::size_t failing : {0U, 57U, 99U}) {
      try {
        pool.parallel_for(100, 1, [&](std::size_t begin, std::size_t) {
          if (begin == failing) {
            throw std::out_of_range("index " + std::to_string(begin));
          }
        });
        ADD_FAILURE() << "nothing was thrown";
      } catch (const std::out_of_range& error) {
        EXPECT_EQ(error.what(), "index " + std::to_string(failing));
      }
      Visits visits(100);
      pool.parallel_for(100, 1,
                        [&](std::size_t begin, std::size_t end) { visits.visit(begin, end); });
      EXPECT_TRUE(visits.all_once());
    }
  }
}

TEST(ThreadPool, RethrowsOneOfManyExceptions) {
  ThreadPool pool(4);
  EXPECT_THROW(pool.parallel_for(1000, 1, [](std::size_t, std::size_t) { throw 1; }), int);
}

TEST(ThreadPool, StopsAfterAnException) {
  ThreadPool pool(1);
  std::size_t visited = 0;
  EXPECT_THROW(pool.parallel_for(100, 10,
                                 [&](std::size_t begin, std::size_t) {
                                   ++visited;
                                   if (begin == 30) {
                                     throw 1;
                                   }
                                 }),
               int);
  EXPECT_EQ(visited, 4U);
}

TEST(ThreadPool, StopsWhenItIsTold) {
  for (const std::size_t threads : {1U, 3U}) {
    ThreadPool pool(threads);
    std::atomic<bool> stop = false;
    std::atomic<int> visited = 0;
    const auto visit = [&](std::size_t, std::size_t) { stop = ++visited >= 5; };
    pool.stop_at(&stop);
    EXPECT_THROW(pool.parallel_for(1000, 1, visit), Stopped);
    EXPECT_LT(visited, 5 + static_cast<int>(threads));
    EXPECT_THROW(pool.parallel_for(1, 1, visit), Stopped);
    pool.stop_at(nullptr);
    visited = 0;
    pool.parallel_for(100, 1, visit);
    EXPECT_EQ(visited, 100);
  }
}

TEST(ThreadPool, MayBeUsedInsideAnother) {
  ThreadPool outer(3);
  std::atomic<int> visited = 0;
  outer.parallel_for(8, 1, [&](std::size_t, std::size_t) {
    ThreadPool inner(2);
    inner.parallel_for(10, 2, [&](std::size_t begin, std::size_t end) {
      visited += static_cast<int>(end - begin);
    });
  });
  EXPECT_EQ(visited, 80);
}

}  // namespace
}  // namespace bitlog2
