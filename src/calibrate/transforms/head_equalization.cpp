#include "calibrate/transforms/head_equalization.h"

#include <cmath>
#include <map>

#include "calibrate/transforms/hadamard.h"
#include "model/forward.h"
#include "simulate/float_ops.h"

namespace bitlog2::calibration {
namespace {

struct Roots {
  Matrix root;
  Matrix inverse;
};

/// The square root of a positive definite matrix, its smallest eigenvalues raised a little, and the
/// root's inverse.
Roots square_roots(const Matrix& matrix) {
  constexpr double kFloor = 1e-3;  // of the mean eigenvalue
  const Eigen::SelfAdjointEigenSolver<Matrix> solver(matrix);
  const double floor =
      std::max(kFloor * matrix.trace() / static_cast<double>(matrix.rows()), 1e-12);
  const Vector values = solver.eigenvalues().cwiseMax(floor).cwiseSqrt();
  const Matrix& vectors = solver.eigenvectors();
  return {vectors * values.asDiagonal() * vectors.transpose(),
          vectors * values.cwiseInverse().asDiagonal() * vectors.transpose()};
}

/// Columns [first, first + count) of [rows, columns] values.
Matrix columns_of(std::span<const float> values, std::size_t columns, std::size_t first,
                  std::size_t count) {
  using View =
      Eigen::Map<const Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>>;
  return View(values.data(), index(values.size() / columns), index(columns))
      .middleCols(index(first), index(count))
      .cast<double>();
}

Matrix second_moment(const Matrix& values) {
  return product(view(values).transposed(), view(values)) / static_cast<double>(values.rows());
}

/// Rows [first, first + n) of a layer: x -> x G for the outputs x they give, less `shift`.
void transform_rows(Linear& layer, std::size_t first, const Matrix& basis, const Vector& shift) {
  const auto count = static_cast<std::size_t>(basis.rows());
  const auto rows =
      std::span(layer.weight).subspan(first * layer.in_features, count * layer.in_features);
  copy_to(product(view(basis).transposed(), view(to_matrix(rows, count))), rows);
  const auto bias = std::span(layer.bias).subspan(first, count);
  const Vector moved = basis.transpose() * (to_vector(bias) - shift);
  copy_to(moved, bias);
}

/// The float forward pass that equalizes each attention when it reaches it.
class EqualizingOps : public simulate::FloatOps<simulate::NoQuantization> {
 public:
  EqualizingOps(Model& model, std::span<const float> images, simulate::NoQuantization& none,
                ThreadPool& pool, const LayerObserver& observer)
      : FloatOps(model.config, images, none, pool, observer) {
    for (Stage& stage : model.stages) {
      for (Block& block : stage.blocks) {
        attentions_[&block.attn.qkv] = &block.attn;
      }
    }
  }

  Tensor linear(const Linear& layer, Tensor x) {
    if (const auto place = attentions_.find(&layer); place != attentions_.end()) {
      Attention& attn = *place->second;
      const Tensor qkv = FloatOps::linear(layer, copy(x));
      const Tensor context = FloatOps::attention(attn, copy(qkv));
      equalize_heads(attn, qkv.values(), context.values());
    }
    return FloatOps::linear(layer, std::move(x));
  }

  /// The moments are those of all tokens.
  static bool drops_unread_tokens() { return false; }

 private:
  std::map<const Linear*, Attention*> attentions_;  // by their qkv
};

}  // namespace

Matrix balancing_basis(const Matrix& a, const Matrix& b) {
  const auto [root, inverse] = square_roots(a);
  const Eigen::BDCSVD<Eigen::MatrixXd> svd(root * square_roots(b).root,
                                           Eigen::ComputeFullU | Eigen::ComputeFullV);
  const Vector roots = svd.singularValues().cwiseMax(1e-12).cwiseSqrt();
  return inverse * svd.matrixU() * roots.asDiagonal() * hadamard(a.rows());
}

void equalize_heads(Attention& attn, std::span<const float> qkv, std::span<const float> context) {
  const std::size_t channels = attn.proj.in_features;
  const std::size_t head_dim = channels / attn.num_heads;
  for (Linear* layer : {&attn.qkv, &attn.proj}) {
    layer->has_bias = true;
    layer->bias.resize(layer->out_features);
  }
  Matrix projection = to_matrix(attn.proj.weight, attn.proj.out_features);
  Vector bias = to_vector(attn.proj.bias);
  for (std::size_t head = 0; head < attn.num_heads; ++head) {
    const std::size_t first = head * head_dim;
    const Matrix q = columns_of(qkv, 3 * channels, first, head_dim);
    Matrix k = columns_of(qkv, 3 * channels, channels + first, head_dim);
    Matrix v = columns_of(qkv, 3 * channels, 2 * channels + first, head_dim);
    Matrix c = columns_of(context, channels, first, head_dim);
    const Vector key_mean = k.colwise().mean();
    const Vector value_mean = v.colwise().mean();
    k.rowwise() -= key_mean.transpose();
    v.rowwise() -= value_mean.transpose();
    c.rowwise() -= value_mean.transpose();

    const Matrix scores = balancing_basis(second_moment(q), second_moment(k));
    transform_rows(attn.qkv, first, scores, Vector::Zero(index(head_dim)));
    transform_rows(attn.qkv, channels + first, scores.inverse().transpose(), key_mean);

    auto weights = projection.middleCols(index(first), index(head_dim));
    bias += weights * value_mean;
    // The values' errors are averaged by attention as the values are.
    const Matrix context_moment = second_moment(c);
    const Matrix value_moment = second_moment(v);
    const double averaging = context_moment.trace() / std::max(value_moment.trace(), 1e-30);
    Matrix values =
        balancing_basis(context_moment + averaging * value_moment, weights.transpose() * weights);
    // Contexts of one size in all heads, since proj's input has one quantizer.
    const double size =
        (values.transpose() * context_moment * values).trace() / static_cast<double>(head_dim);
    values /= std::sqrt(std::max(size, 1e-30));
    transform_rows(attn.qkv, 2 * channels + first, values, value_mean);
    weights = (weights * values.inverse().transpose()).eval();
  }
  copy_to(projection, attn.proj.weight);
  copy_to(bias, attn.proj.bias);
}

void equalize_heads(Model& model, std::span<const float> images, ThreadPool& pool) {
  const LayerObserver nobody;
  simulate::NoQuantization none;
  EqualizingOps ops(model, images, none, pool, nobody);
  static_cast<void>(forward(model, ops));
}

}  // namespace bitlog2::calibration
